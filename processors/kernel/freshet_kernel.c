/* The inner loops of processors/canonical.py and processors/template.py, for ASCII text; any other text goes to the
   Python function beside them.

   The rules and their reasons stand there: this file may only be faster. It knows what a canonical form is, and of the
   masks one case (in `masked`); every other token or line is asked of Python once and remembered. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

enum { SHORTEST_RUN = 4 };                         /* of hexadecimal digits, to be an id */
enum { SHORT_WORD = 12, MOST_TOKENS = 256 };       /* as in template.py */
enum { LONGEST_TOKEN = 96, LONGEST_LINE = 1024 };  /* that is remembered */
enum { WAYS = 4 };                                 /* slots that a key may lie in */
enum { TOKENS = 1 << 16, LINES = 1 << 13 };        /* that are remembered at most, both powers of two: 40 MiB at worst */

/* Kinds of characters, as bits: a word's bits together say what it is made of. */
enum { ZERO = 1, DIGIT = 2, HEX_LETTER = 4, OTHER_LETTER = 8, UNDERSCORE = 16, SPACE = 32, SPECIAL = 64, PLAIN = 128 };
enum { LETTER = HEX_LETTER | OTHER_LETTER, WORD = LETTER | DIGIT | UNDERSCORE };

static const unsigned char kinds[256] = {
    [0 ... 255] = PLAIN,
    ['0'] = DIGIT | ZERO, ['1' ... '9'] = DIGIT,
    ['a' ... 'f'] = HEX_LETTER, ['g' ... 'z'] = OTHER_LETTER, ['A' ... 'Z'] = OTHER_LETTER, ['_'] = UNDERSCORE,
    ['\t' ... '\r'] = SPACE, ['\x1c' ... '\x1f'] = SPACE, [' '] = SPACE,  /* where str.split splits */
    ['='] = SPECIAL, ['<'] = SPECIAL, ['"'] = SPECIAL, ['\''] = SPECIAL,   /* a pair, a placeholder, quotes */
};

/* ---- canonical(text); self: the Python function for text that is not ASCII. */

static PyObject *canonical_of(PyObject *self, PyObject *text)
{
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_ASCII(text))
        return PyObject_CallOneArg(self, text);
    const Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    const unsigned char *from = PyUnicode_1BYTE_DATA(text);

    Py_ssize_t first = 0, word = 0;  /* of the first digit, and of the word that it stands in */
    for (; first < length && !(kinds[from[first]] & DIGIT); first++)
        if (!(kinds[from[first]] & WORD))
            word = first + 1;
    if (first == length)
        return Py_NewRef(text);

    PyObject *made = PyUnicode_New(length, 127);
    if (!made)
        return NULL;
    unsigned char *to = PyUnicode_1BYTE_DATA(made);
    memcpy(to, from, word);
    for (Py_ssize_t at = word; at < length; at++) {
        unsigned char held = 0, kind;
        const Py_ssize_t start = at;
        for (; at < length && (kind = kinds[from[at]]) & WORD; at++) {
            held |= kind;
            to[at] = kind & DIGIT ? '0' : from[at];
        }
        if ((held & ~ZERO) == (DIGIT | HEX_LETTER) && at - start >= SHORTEST_RUN)
            for (Py_ssize_t i = start; i < at; i++)
                to[i] = (i - start) & 1 ? '0' : 'a';
        if (at < length)
            to[at] = from[at];
    }
    if (!memcmp(from, to, length)) {
        Py_DECREF(made);
        return Py_NewRef(text);
    }
    return made;
}

static PyMethodDef canonical_method = {
    "canonical", canonical_of, METH_O, "canonical(text, /)\n--\n\nThe text with its digits and hexadecimal ids alike."};

static PyObject *make_canonical(PyObject *Py_UNUSED(module), PyObject *other)
{
    return PyCFunction_New(&canonical_method, other);
}

/* ---- What Python answered before. A key may lie in WAYS slots; when all are taken one makes room, so that neither
   memory nor a search can grow, whatever comes. */

typedef struct {
    uint64_t hash;
    PyObject *key, *value;
} Slot;

typedef struct {
    Slot *slots;
    uint64_t sets, seed;
    unsigned turn;
} Table;

static uint64_t hash_of(const Table *table, const char *bytes, size_t length)
{
    uint64_t hash = table->seed ^ length, word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
    }
    for (word = 0; length; length--)
        word = word << 8 | (unsigned char)*bytes++;
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 32;
}

/* The value, borrowed, or NULL. */
static PyObject *recall(const Table *table, uint64_t hash, const char *bytes, Py_ssize_t length)
{
    const Slot *slot = table->slots + (hash & (table->sets - 1)) * WAYS;
    for (int way = 0; way < WAYS && slot->key; way++, slot++)
        if (slot->hash == hash && PyUnicode_GET_LENGTH(slot->key) == length &&
            !memcmp(PyUnicode_1BYTE_DATA(slot->key), bytes, length))
            return slot->value;
    return NULL;
}

static void remember(Table *table, uint64_t hash, PyObject *key, PyObject *value)
{
    Slot *slot = table->slots + (hash & (table->sets - 1)) * WAYS;
    int way = 0;
    while (way < WAYS && slot[way].key)
        way++;
    slot += way < WAYS ? way : (int)(table->turn++ % WAYS);
    Slot old = *slot;
    *slot = (Slot){hash, Py_NewRef(key), Py_NewRef(value)};
    Py_XDECREF(old.key);
    Py_XDECREF(old.value);
}

static int open_table(Table *table, uint64_t most, uint64_t seed)
{
    *table = (Table){PyMem_Calloc(most, sizeof(Slot)), most / WAYS, seed, 0};
    return table->slots ? 0 : -1;
}

static void close_table(Table *table)
{
    for (uint64_t i = 0; table->slots && i < table->sets * WAYS; i++) {
        Py_XDECREF(table->slots[i].key);
        Py_XDECREF(table->slots[i].value);
    }
    PyMem_Free(table->slots);
    table->slots = NULL;
}

/* ---- mask(text): the template of a canonical line; self: a capsule with the Python functions and their answers. */

typedef struct {
    PyObject *token, *line, *other;  /* of one token, of the masked tokens joined, of text that is not ASCII */
    Table tokens, lines;
} Masks;

typedef struct {
    char *bytes;
    Py_ssize_t used, room;
    char own[4096];
} Buffer;

static int append(Buffer *buffer, const void *bytes, Py_ssize_t length)
{
    if (buffer->used + length > buffer->room) {
        const Py_ssize_t room = (buffer->used + length) * 2;
        char *wider = PyMem_Realloc(buffer->bytes == buffer->own ? NULL : buffer->bytes, room);
        if (!wider) {
            PyErr_NoMemory();
            return -1;
        }
        if (buffer->bytes == buffer->own)
            memcpy(wider, buffer->own, buffer->used);
        buffer->bytes = wider;
        buffer->room = room;
    }
    memcpy(buffer->bytes + buffer->used, bytes, length);
    buffer->used += length;
    return 0;
}

/* A new reference to what the table or, failing that, the Python function says of these ASCII bytes. While Python
   runs, another thread may use the table. */
static PyObject *answer(Table *table, PyObject *function, const char *bytes, Py_ssize_t length, Py_ssize_t longest)
{
    const uint64_t hash = length > longest ? 0 : hash_of(table, bytes, length);
    PyObject *value = length > longest ? NULL : recall(table, hash, bytes, length);
    if (value)
        return Py_NewRef(value);
    PyObject *key = PyUnicode_New(length, 127);
    if (!key)
        return NULL;
    memcpy(PyUnicode_1BYTE_DATA(key), bytes, length);
    value = PyObject_CallOneArg(function, key);
    if (value && !(PyUnicode_CheckExact(value) && PyUnicode_IS_ASCII(value))) {
        PyErr_Format(PyExc_TypeError, "the mask of %R is no ASCII text", key);
        Py_CLEAR(value);
    }
    if (value && length <= longest && !recall(table, hash, bytes, length))
        remember(table, hash, key, value);
    Py_DECREF(key);
    return value;
}

/* Appends the mask of one token whose characters are of these kinds. */
static int masked(Masks *self, Buffer *buffer, const unsigned char *token, Py_ssize_t length, unsigned char held)
{
    if (length < SHORT_WORD && !(held & ~LETTER))
        return append(buffer, token, length);
    /* No pair, no quotes, no placeholder, nothing around it, and a digit. */
    if (held & ZERO && !(held & SPECIAL) && kinds[token[0]] & (LETTER | DIGIT) &&
        kinds[token[length - 1]] & (LETTER | DIGIT))
        return append(buffer, "*", 1);
    PyObject *mask = answer(&self->tokens, self->token, (const char *)token, length, LONGEST_TOKEN);
    if (!mask)
        return -1;
    const int failed = append(buffer, PyUnicode_1BYTE_DATA(mask), PyUnicode_GET_LENGTH(mask));
    Py_DECREF(mask);
    return failed;
}

static PyObject *mask(PyObject *capsule, PyObject *text)
{
    Masks *self = PyCapsule_GetPointer(capsule, NULL);
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_ASCII(text))
        return PyObject_CallOneArg(self->other, text);
    const unsigned char *at = PyUnicode_1BYTE_DATA(text), *end = at + PyUnicode_GET_LENGTH(text);
    Buffer buffer = {.bytes = buffer.own, .room = sizeof buffer.own};
    PyObject *made = NULL;
    for (int count = 0; count < MOST_TOKENS; count++) {
        while (at < end && kinds[*at] == SPACE)
            at++;
        if (at == end)
            break;
        const unsigned char *token = at;
        unsigned char held = 0;
        for (; at < end && kinds[*at] != SPACE; at++)
            held |= kinds[*at];
        if ((count && append(&buffer, " ", 1)) || masked(self, &buffer, token, at - token, held))
            goto done;
    }
    made = answer(&self->lines, self->line, buffer.bytes, buffer.used, LONGEST_LINE);
done:
    if (buffer.bytes != buffer.own)
        PyMem_Free(buffer.bytes);
    return made;
}

static PyMethodDef mask_method = {
    "mask", mask, METH_O, "mask(text, /)\n--\n\nThe template of a line in its canonical form."};

static void free_masks(PyObject *capsule)
{
    Masks *self = PyCapsule_GetPointer(capsule, NULL);
    Py_DECREF(self->token);
    Py_DECREF(self->line);
    Py_DECREF(self->other);
    close_table(&self->tokens);
    close_table(&self->lines);
    PyMem_Free(self);
}

static PyObject *make_mask(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *token, *line, *other, *capsule = NULL, *made = NULL;
    if (!PyArg_ParseTuple(args, "OOO:mask", &token, &line, &other))
        return NULL;
    PyObject *name = PyUnicode_FromString(mask_method.ml_name);
    if (!name)
        return NULL;
    const uint64_t seed = PyObject_Hash(name);  /* drawn anew for each process */
    Py_DECREF(name);
    Masks *self = PyMem_Calloc(1, sizeof *self);
    if (!self || open_table(&self->tokens, TOKENS, seed) || open_table(&self->lines, LINES, seed) ||
        !(capsule = PyCapsule_New(self, NULL, free_masks))) {
        if (self) {
            close_table(&self->tokens);
            close_table(&self->lines);
        }
        PyMem_Free(self);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    self->token = Py_NewRef(token);
    self->line = Py_NewRef(line);
    self->other = Py_NewRef(other);
    made = PyCFunction_New(&mask_method, capsule);
    Py_DECREF(capsule);
    return made;
}

static PyMethodDef functions[] = {
    {"canonical", make_canonical, METH_O,
     "canonical(other, /)\n--\n\nThe function for ASCII text; `other` is asked for any other."},
    {"mask", make_mask, METH_VARARGS,
     "mask(token, line, other, /)\n--\n\nThe function for ASCII text. It asks `token` for the mask of a token and `line` "
     "for the template\nof masked tokens, once each while it remembers, and `other` for any other text."},
    {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot slots[] = {{0, NULL}};  /* nothing of its own: any number of interpreters may load it */

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "freshet_kernel", .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC PyInit_freshet_kernel(void)
{
    return PyModuleDef_Init(&definition);
}
