/* Functions of the module that stand in files of their own. */

#include <Python.h>

PyObject *depth(PyObject *module, PyObject *raw);
PyObject *plain_event(PyObject *module, PyObject *args);
PyObject *plain_logs(PyObject *module, PyObject *args);
