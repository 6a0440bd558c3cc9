/* The inner loops of processors/canonical.py, for ASCII text; what is not, goes to the Python function.

   The rules and their reasons stand there: this file may only be faster. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Kinds of characters, as bits: a word's bits together say what it is made of. */
enum { ZERO = 1, HEX_LETTER = 2, OTHER_WORD = 4, DIGIT = 8 };
enum { SHORTEST_RUN = 4 };

static unsigned char kinds[256];

static void fill_kinds(void)
{
    for (int c = '0'; c <= '9'; c++)
        kinds[c] = ZERO | DIGIT;
    for (int c = 'A'; c <= 'Z'; c++)
        kinds[c] = kinds[c | 0x20] = OTHER_WORD;
    for (int c = 'a'; c <= 'f'; c++)
        kinds[c] = HEX_LETTER;
    kinds['_'] = OTHER_WORD;
}

/* canonical(text), self: the Python function for text that is not ASCII. */
static PyObject *canonical_of(PyObject *self, PyObject *text)
{
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_ASCII(text))
        return PyObject_CallOneArg(self, text);
    const Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    const unsigned char *from = PyUnicode_1BYTE_DATA(text);

    Py_ssize_t first = 0, word = 0;  /* of the first digit, and of the word that it stands in */
    for (; first < length && !(kinds[from[first]] & DIGIT); first++)
        if (!kinds[from[first]])
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
        for (; at < length && (kind = kinds[from[at]]); at++) {
            held |= kind;
            to[at] = kind & DIGIT ? '0' : from[at];
        }
        if (held == (ZERO | DIGIT | HEX_LETTER) && at - start >= SHORTEST_RUN)
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

static PyMethodDef functions[] = {
    {"canonical", make_canonical, METH_O,
     "canonical(other, /)\n--\n\nThe function for ASCII text; `other` is asked for any other."},
    {NULL, NULL, 0, NULL}};

static int start(PyObject *Py_UNUSED(module))
{
    fill_kinds();
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, start}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "freshet_kernel", .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC PyInit_freshet_kernel(void)
{
    return PyModuleDef_Init(&definition);
}
