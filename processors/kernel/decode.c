/* The inner loops of processors/decode for logs in OTLP/JSON and in Fluent Bit's JSON. What they do not answer the Python
   functions do, as they would without this file. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include "freshet_kernel.h"

enum { LONGEST = 1024, TRACE_CHARS = 32, NANOSECOND_DIGITS = 19, HIGHEST_SEVERITY = 24 };

/* ---- depth(raw): how deep the brackets of a JSON text nest. */

PyObject *depth(PyObject *Py_UNUSED(module), PyObject *raw)
{
    if (!PyBytes_CheckExact(raw))
        return PyErr_Format(PyExc_TypeError, "depth of bytes only");
    const char *at = PyBytes_AS_STRING(raw), *end = at + PyBytes_GET_SIZE(raw);
    Py_ssize_t open = 0, most = 0;
    for (; at < end; at++) {
        if (*at == '"') {
            for (at++; at < end && *at != '"'; at++)
                at += *at == '\\';
        } else if (*at == '{' || *at == '[') {
            most = ++open > most ? open : most;
        } else if ((*at == '}' || *at == ']') && open) {
            open--;
        }
    }
    return PyLong_FromSsize_t(most);
}

/* ---- plain_logs(records, telling, earliest_ms, latest_ms) */

enum { TIME, NUMBER, BODY, STRING, ATTRIBUTES, KEY, TRACE, NAMES };
static const char *const names[NAMES] = {
    "timeUnixNano", "severityNumber", "body", "stringValue", "attributes", "key", "traceId"};

static int is_ascii(PyObject *text)
{
    return text && PyUnicode_CheckExact(text) && PyUnicode_IS_ASCII(text);
}

/* Epoch milliseconds, or -1 for what is no string of 19 digits. */
static int64_t milliseconds(PyObject *text)
{
    if (!is_ascii(text) || PyUnicode_GET_LENGTH(text) != NANOSECOND_DIGITS)
        return -1;
    const unsigned char *digits = PyUnicode_1BYTE_DATA(text);
    int64_t value = 0;
    for (int i = 0; i < NANOSECOND_DIGITS; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return -1;
        if (i < NANOSECOND_DIGITS - 6)
            value = value * 10 + digits[i] - '0';
    }
    return value;
}

/* A trace id as it is kept, "" for none, NULL for one that has to be looked at. Borrowed. */
static PyObject *trace_of(PyObject *text, PyObject *none)
{
    if (!text || text == Py_None)
        return none;
    if (!is_ascii(text))
        return NULL;
    if (!PyUnicode_GET_LENGTH(text))
        return none;
    if (PyUnicode_GET_LENGTH(text) != TRACE_CHARS)
        return NULL;
    const unsigned char *at = PyUnicode_1BYTE_DATA(text);
    int zeros = 0;
    for (int i = 0; i < TRACE_CHARS; i++) {
        if (!((at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f')))
            return NULL;
        zeros += at[i] == '0';
    }
    return zeros < TRACE_CHARS ? text : NULL;
}

/* 1 when an attribute of this record is one that is read, or cannot be told; -1 on error. */
static int tells(PyObject *attributes, PyObject *telling, PyObject *key)
{
    if (!attributes || !PyList_CheckExact(attributes))
        return 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(attributes); i++) {
        PyObject *pair = PyList_GET_ITEM(attributes, i);
        if (!PyDict_CheckExact(pair))
            continue;
        PyObject *name = PyDict_GetItemWithError(pair, key);
        if (!is_ascii(name))
            return PyErr_Occurred() ? -1 : 1;
        if (PyUnicode_GET_LENGTH(name) > 4 && !memcmp(PyUnicode_1BYTE_DATA(name), "k8s.", 4))
            return 1;
        const int told = PySet_Contains(telling, name);
        if (told)
            return told;
    }
    return 0;
}

/* What a plain record says, None for any other; NULL on error. */
static PyObject *plain_log(PyObject *record, PyObject *telling, PyObject *const *key, int64_t earliest, int64_t latest)
{
    if (!PyDict_CheckExact(record))
        Py_RETURN_NONE;
    PyObject *number = PyDict_GetItemWithError(record, key[NUMBER]);
    PyObject *body = PyDict_GetItemWithError(record, key[BODY]);
    if (!number || !PyLong_CheckExact(number) || !body || !PyDict_CheckExact(body))
        goto other;
    int overflow;
    const long severity = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow || severity < 1 || severity > HIGHEST_SEVERITY)
        goto other;
    PyObject *text = PyDict_GetItemWithError(body, key[STRING]);
    if (!is_ascii(text) || !PyUnicode_GET_LENGTH(text) || PyUnicode_GET_LENGTH(text) > LONGEST)
        goto other;
    const int64_t time_ms = milliseconds(PyDict_GetItemWithError(record, key[TIME]));
    if (time_ms < earliest || time_ms >= latest)
        goto other;
    PyObject *trace = trace_of(PyDict_GetItemWithError(record, key[TRACE]), key[NAMES]);
    if (!trace)
        goto other;
    const int told = tells(PyDict_GetItemWithError(record, key[ATTRIBUTES]), telling, key[KEY]);
    if (told)
        goto other;
    return Py_BuildValue("(LOOO)", (long long)time_ms, number, text, trace);
other:
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

PyObject *plain_logs(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *records, *telling, *found = NULL, *key[NAMES + 1] = {NULL};
    long long earliest, latest;
    if (!PyArg_ParseTuple(args, "O!OLL:plain_logs", &PyList_Type, &records, &telling, &earliest, &latest))
        return NULL;
    for (int i = 0; i <= NAMES; i++)
        if (!(key[i] = PyUnicode_InternFromString(i < NAMES ? names[i] : "")))
            goto done;
    if (!(found = PyList_New(PyList_GET_SIZE(records))))
        goto done;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(found); i++) {
        /* Nothing of Python runs in between, so the list stays as it is. */
        PyObject *said = plain_log(PyList_GET_ITEM(records, i), telling, key, earliest, latest);
        if (!said) {
            Py_CLEAR(found);
            break;
        }
        PyList_SET_ITEM(found, i, said);
    }
done:
    for (int i = 0; i <= NAMES; i++)
        Py_XDECREF(key[i]);
    return found;
}

/* ---- plain_event(event, known, told, earliest_s, latest_s) */

enum { TIMESTAMP, LOG, KUBERNETES, POD, NAMESPACE, CONTAINER, HOST, FIELDS };
static const char *const fields[FIELDS] = {
    "@timestamp", "log", "kubernetes", "pod_name", "namespace_name", "container_name", "host"};

/* 1 when all keys of a dict are, or are not, in a set; -1 on error. */
static int all_keys(PyObject *dict, PyObject *set, int in)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(dict, &at, &name, &value)) {
        const int found = PySet_Contains(set, name);
        if (found != in)
            return found < 0 ? -1 : 0;
    }
    return 1;
}

PyObject *plain_event(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *event, *known, *told, *key[FIELDS] = {NULL}, *said[FIELDS] = {NULL}, *found = NULL;
    double earliest_s, latest_s;
    if (!PyArg_ParseTuple(args, "OOOdd:plain_event", &event, &known, &told, &earliest_s, &latest_s))
        return NULL;
    if (!PyDict_CheckExact(event))
        Py_RETURN_NONE;
    for (int i = 0; i < FIELDS; i++)
        if (!(key[i] = PyUnicode_InternFromString(fields[i])))
            goto done;
    for (int i = 0; i < FIELDS; i++) {
        PyObject *const holder = i < POD ? event : said[KUBERNETES];
        if (i == POD && (!holder || !PyDict_CheckExact(holder)))
            goto done;
        said[i] = PyDict_GetItemWithError(holder, key[i]);
        if (!said[i] && PyErr_Occurred())
            goto done;
    }
    if (!said[TIMESTAMP] || !PyFloat_CheckExact(said[TIMESTAMP]) || !is_ascii(said[LOG]))
        goto done;
    const double time_s = PyFloat_AS_DOUBLE(said[TIMESTAMP]);
    const Py_ssize_t length = PyUnicode_GET_LENGTH(said[LOG]);
    if (!(time_s >= earliest_s && time_s < latest_s) || !length || length > LONGEST)
        goto done;
    for (int i = POD; i < FIELDS; i++)
        if (!said[i] || !PyUnicode_CheckExact(said[i]) || (i != CONTAINER && !PyUnicode_GET_LENGTH(said[i])))
            goto done;
    if (all_keys(event, known, 1) != 1 || all_keys(said[KUBERNETES], told, 0) != 1)
        goto done;
    /* To the microsecond first, halves to even, as round() in Python. */
    const int64_t time_ms = (int64_t)nearbyint(time_s * 1e6) / 1000;
    found = Py_BuildValue(
        "(LOOOOO)", (long long)time_ms, said[LOG], said[POD], said[NAMESPACE], said[CONTAINER], said[HOST]);
done:
    for (int i = 0; i < FIELDS; i++)
        Py_XDECREF(key[i]);
    if (found || PyErr_Occurred())
        return found;
    Py_RETURN_NONE;
}
