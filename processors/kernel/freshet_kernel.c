/* The inner loops of processors/canonical.py and processors/template.py, for ASCII text; any other text goes to the
   Python function beside them.

   The rules and their reasons stand there: this file may only be faster. It knows what a canonical form is, and of the
   masks one case (in `template_of`); every other token or line is asked of Python once and remembered. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include "freshet_kernel.h"

enum { SHORTEST_RUN = 4 };                         /* of hexadecimal digits, to be an id */
enum { LONGEST_TEXT = 4096, MOST_TOKENS = 256, SHORT_WORD = 12 };  /* as in template.py */
enum { LONGEST_TOKEN = 96, LONGEST_LINE = 1024 };  /* that is remembered */
enum { WAYS = 4 };                                 /* slots that a key may lie in */
enum { TOKENS = 1 << 16, LINES = 1 << 13 };        /* that are remembered at most, both powers of two: 40 MiB at worst */

/* Kinds of characters, as bits: a word's bits together say what it is made of. */
enum { DIGIT = 1, HEX_LETTER = 2, OTHER_LETTER = 4, UNDERSCORE = 8, SPACE = 16, SPECIAL = 32, PLAIN = 64 };
enum { LETTER = HEX_LETTER | OTHER_LETTER, WORD = LETTER | DIGIT | UNDERSCORE };

static const unsigned char kinds[256] = {
    [0 ... 255] = PLAIN,
    ['0' ... '9'] = DIGIT,
    ['a' ... 'f'] = HEX_LETTER, ['g' ... 'z'] = OTHER_LETTER, ['A' ... 'Z'] = OTHER_LETTER, ['_'] = UNDERSCORE,
    ['\t' ... '\r'] = SPACE, ['\x1c' ... '\x1f'] = SPACE, [' '] = SPACE,  /* where str.split splits */
    ['='] = SPECIAL, ['<'] = SPECIAL, ['"'] = SPECIAL, ['\''] = SPECIAL,   /* a pair, a placeholder, quotes */
};

/* ---- canonical(text); self: the Python function for text that is not ASCII. */

/* `from` begins with a word or beside one. */
static void write_canonical(unsigned char *to, const unsigned char *from, Py_ssize_t length)
{
    for (Py_ssize_t at = 0; at < length; at++) {
        unsigned char held = 0, kind;
        const Py_ssize_t start = at;
        for (; at < length && (kind = kinds[from[at]]) & WORD; at++) {
            held |= kind;
            to[at] = kind & DIGIT ? '0' : from[at];
        }
        if (held == (DIGIT | HEX_LETTER) && at - start >= SHORTEST_RUN)
            for (Py_ssize_t i = start; i < at; i++)
                to[i] = (i - start) & 1 ? '0' : 'a';
        if (at < length)
            to[at] = from[at];
    }
}

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
    write_canonical(to + word, from + word, length - word);
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

static uint64_t hash_of(const Table *table, const unsigned char *bytes, size_t length)
{
    uint64_t hash = table->seed ^ length, word;
    for (; length >= 8; bytes += 8, length -= 8) {
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
    }
    for (word = 0; length; length--)
        word = word << 8 | *bytes++;
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 32;
}

/* The value, borrowed, or NULL. */
static PyObject *recall(const Table *table, uint64_t hash, const unsigned char *bytes,
                        Py_ssize_t length)
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

/* ---- template(text); self: a capsule with the Python functions and what they answered. */

typedef struct {
    PyObject *token, *line, *other;  /* of a token, of the masked tokens joined, of any text */
    Table tokens, lines;
} Masks;

/* A new reference to what the table or, failing that, the Python function says of these ASCII bytes. While Python
   runs, another thread may use the table. */
static PyObject *answer(Table *table, PyObject *function, const unsigned char *bytes, Py_ssize_t length,
                        Py_ssize_t longest)
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
    if (value && !PyUnicode_CheckExact(value)) {
        PyErr_Format(PyExc_TypeError, "the mask of %R is no text", key);
        Py_CLEAR(value);
    }
    if (value && length <= longest && !recall(table, hash, bytes, length))
        remember(table, hash, key, value);
    Py_DECREF(key);
    return value;
}

/* Whether a text is one line that stands for itself, in characters that we know. */
static int is_plain(PyObject *text)
{
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_ASCII(text) || PyUnicode_GET_LENGTH(text) > LONGEST_TEXT)
        return 0;
    const unsigned char *at = PyUnicode_1BYTE_DATA(text), *end = at + PyUnicode_GET_LENGTH(text);
    if (memchr(at, '\n', end - at))
        return 0;
    while (at < end && kinds[*at] == SPACE)
        at++;
    return at == end || at[0] != '{' || at[1] != '"';  /* a text ends with a NUL */
}

static PyObject *template_of(PyObject *capsule, PyObject *text)
{
    Masks *self = PyCapsule_GetPointer(capsule, NULL);
    if (!is_plain(text))
        return PyObject_CallOneArg(self->other, text);
    const unsigned char *at = PyUnicode_1BYTE_DATA(text), *end = at + PyUnicode_GET_LENGTH(text);
    unsigned char line[LONGEST_TEXT + 1], *to = line;  /* what is written is never longer than what was read */
    for (int count = 0; count < MOST_TOKENS; count++) {
        while (at < end && kinds[*at] == SPACE)
            at++;
        if (at == end)
            break;
        if (count)
            *to++ = ' ';
        const unsigned char *token = at;
        unsigned char *copy = to, held = 0, kind;
        for (; at < end && (kind = kinds[*at]) != SPACE; at++) {
            held |= kind;
            *to++ = *at;
        }
        const Py_ssize_t length = at - token;
        if (length < SHORT_WORD && !(held & ~LETTER))
            continue;
        /* A digit in it, no pair, quotes or placeholder, nothing around it. */
        if (held & DIGIT && !(held & SPECIAL) && kinds[*token] & (LETTER | DIGIT) && kinds[at[-1]] & (LETTER | DIGIT)) {
            *copy = '*';
            to = copy + 1;
            continue;
        }
        if (held & DIGIT)
            write_canonical(copy, token, length);
        PyObject *mask = answer(&self->tokens, self->token, copy, length, LONGEST_TOKEN);
        if (!mask)
            return NULL;
        const Py_ssize_t masked = PyUnicode_GET_LENGTH(mask);
        if (!PyUnicode_IS_ASCII(mask) || masked > length) {  /* of a rule that we were not made for */
            Py_DECREF(mask);
            return PyObject_CallOneArg(self->other, text);
        }
        memcpy(copy, PyUnicode_1BYTE_DATA(mask), masked);
        to = copy + masked;
        Py_DECREF(mask);
    }
    return answer(&self->lines, self->line, line, to - line, LONGEST_LINE);
}

static PyMethodDef template_method = {
    "template", template_of, METH_O, "template(text, /)\n--\n\nThe template of a redacted text."};

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

static PyObject *make_template(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *token, *line, *other, *capsule = NULL, *made = NULL;
    if (!PyArg_ParseTuple(args, "OOO:template", &token, &line, &other))
        return NULL;
    PyObject *name = PyUnicode_FromString(template_method.ml_name);
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
    made = PyCFunction_New(&template_method, capsule);
    Py_DECREF(capsule);
    return made;
}

/* ---- java_hash(text), as in processors/merge.py. */

static PyObject *java_hash(PyObject *Py_UNUSED(module), PyObject *text)
{
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_ASCII(text))
        return PyErr_Format(PyExc_ValueError, "a hash of ASCII text only");
    const unsigned char *at = PyUnicode_1BYTE_DATA(text), *end = at + PyUnicode_GET_LENGTH(text);
    uint32_t value = 0;
    while (at < end)
        value = 31 * value + *at++;
    return PyLong_FromLong((int32_t)value);
}

static PyMethodDef functions[] = {
    {"canonical", make_canonical, METH_O,
     "canonical(other, /)\n--\n\nThe function for ASCII text; `other` is asked for any other."},
    {"template", make_template, METH_VARARGS,
     "template(token, line, other, /)\n--\n\nThe function for single lines of ASCII text. It asks `token` for the mask of a "
     "token in its canonical\nform and `line` for the template of masked tokens, once each while it remembers; `other` for "
     "any other text."},
    {"java_hash", java_hash, METH_O, "java_hash(text, /)\n--\n\njava.lang.String.hashCode of ASCII text."},
    {"depth", depth, METH_O, "depth(raw, /)\n--\n\nHow deep the brackets of a JSON text nest."},
    {"plain_event", plain_event, METH_VARARGS,
     "plain_event(event, known, told, earliest_s, latest_s, /)\n--\n\nTime in ms, text, pod, namespace, container and node of "
     "a plain event of Fluent Bit; None for any other.\n\nPlain is an ASCII text of at most 1,024 characters with a "
     "floating-point time between the bounds in an\nevent whose keys are all `known`, of a pod none of whose "
     "keys is `told`."},
    {"plain_logs", plain_logs, METH_VARARGS,
     "plain_logs(records, telling, earliest_ms, latest_ms, /)\n--\n\nFor each OTLP/JSON log record that is plain: time "
     "in ms, severity, text and trace id; None for any other.\n\nPlain are ASCII texts of at most 1,024 characters with a "
     "severity number, a time between the bounds\nand no attribute that is `telling`."},
    {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot slots[] = {{0, NULL}};  /* nothing of its own: any number of interpreters may load it */

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "freshet_kernel", .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC PyInit_freshet_kernel(void)
{
    return PyModuleDef_Init(&definition);
}
