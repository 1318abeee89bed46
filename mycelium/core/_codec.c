/* The frames that nearly all frames are, built and parsed in C: one payload TLV and nothing else.
 *
 * The wire format, its errors and every other frame are the matter of envelope.py. Whatever is not plain and
 * right is handed to the functions there, given to configure(); so there is one place that says what is wrong.
 * Numbers are little-endian on the wire, and read byte by byte, so that it does not matter where this runs.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define HEADER_BYTES 48
#define TLV_BYTES 6
#define TLV_PAYLOAD 1
#define MAX_TOPIC_BYTES 255 /* configure() is told the real one and refuses another */
#define HEAD 0x0001594dU    /* "MY", version 1, no flags */

static PyObject *envelope_type, *topic_text, *topic_bytes, *parse_any, *build_any, *zlib_crc32;
static Py_ssize_t default_max_frame;

/* CRC-32 as zlib's, eight bytes at a time ("slicing by 8", Kounavis and Berry, 2005). */
static uint32_t crc_table[8][256];

static void
make_crc_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? (crc >> 1) ^ 0xedb88320U : crc >> 1;
        }
        crc_table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = crc_table[slice - 1][byte];
            crc_table[slice][byte] = (crc >> 8) ^ crc_table[0][crc & 0xff];
        }
    }
}

static inline uint64_t
get(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) {
        value = value << 8 | at[i];
    }
    return value;
}

static inline void
put(unsigned char *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++, value >>= 8) {
        at[i] = (unsigned char)value;
    }
}

/* Beyond so many bytes zlib's own is the faster one, with what calling it costs. Measured on x86-64. */
#define LONG 1024

static int
crc32_long(const unsigned char *at, Py_ssize_t bytes, uint32_t *found)
{
    PyObject *view = PyMemoryView_FromMemory((char *)at, bytes, PyBUF_READ);
    PyObject *value = view == NULL ? NULL : PyObject_CallOneArg(zlib_crc32, view);
    Py_XDECREF(view);
    if (value == NULL) {
        return -1;
    }
    *found = (uint32_t)PyLong_AsUnsignedLong(value);
    Py_DECREF(value);
    return 0;
}

/* The checksum of so many bytes; -1 with an exception if there is none. */
static int
crc32_of(const unsigned char *at, Py_ssize_t bytes, uint32_t *found)
{
    if (bytes > LONG) {
        return crc32_long(at, bytes, found);
    }
    uint32_t crc = 0xffffffffU;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint32_t low = crc ^ (uint32_t)get(at, 4), high = (uint32_t)get(at + 4, 4);
        crc = crc_table[7][low & 0xff] ^ crc_table[6][low >> 8 & 0xff] ^ crc_table[5][low >> 16 & 0xff] ^
              crc_table[4][low >> 24] ^ crc_table[3][high & 0xff] ^ crc_table[2][high >> 8 & 0xff] ^
              crc_table[1][high >> 16 & 0xff] ^ crc_table[0][high >> 24];
    }
    for (; bytes; bytes--, at++) {
        crc = (crc >> 8) ^ crc_table[0][(crc ^ *at) & 0xff];
    }
    *found = crc ^ 0xffffffffU;
    return 0;
}

static PyObject *
configure(PyObject *module, PyObject *args)
{
    Py_ssize_t max_topic;
    PyObject *given[6];
    if (!PyArg_ParseTuple(args, "OOOOOOnn", &given[0], &given[1], &given[2], &given[3], &given[4], &given[5],
                          &max_topic, &default_max_frame)) {
        return NULL;
    }
    if (max_topic != MAX_TOPIC_BYTES) {
        return PyErr_Format(PyExc_ValueError, "topics of %zd bytes, this was built for %d", max_topic, MAX_TOPIC_BYTES);
    }
    PyObject **kept[6] = {&envelope_type, &topic_text, &topic_bytes, &parse_any, &build_any, &zlib_crc32};
    for (int i = 0; i < 6; i++) {
        Py_XSETREF(*kept[i], Py_NewRef(given[i]));
    }
    Py_RETURN_NONE;
}

static PyObject *
envelope_of(PyObject *topic, const unsigned char *header, const unsigned char *payload, Py_ssize_t bytes)
{
    PyObject *fields[8] = {
        topic,
        PyLong_FromUnsignedLongLong(get(header + 4, 2)),
        PyLong_FromUnsignedLongLong(get(header + 6, 2)),
        PyLong_FromUnsignedLongLong(get(header + 8, 8)),
        PyLong_FromUnsignedLongLong(get(header + 16, 8)),
        PyLong_FromUnsignedLongLong(get(header + 24, 8)),
        PyLong_FromUnsignedLongLong(get(header + 32, 8)),
        PyBytes_FromStringAndSize((const char *)payload, bytes),
    };
    PyObject *made = NULL;
    int complete = 1;
    for (int i = 1; i < 8; i++) {
        complete &= fields[i] != NULL;
    }
    if (complete) {
        made = PyObject_Vectorcall(envelope_type, fields, 8, NULL);
    }
    for (int i = 1; i < 8; i++) {
        Py_XDECREF(fields[i]);
    }
    return made;
}

static PyObject *
decode_frame(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    if (count != 1 || names != NULL || !PyBytes_CheckExact(args[0])) {
        return PyObject_Vectorcall(parse_any, args, count, names);
    }
    const unsigned char *frame = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    const unsigned char *end = memchr(frame, 0, size < MAX_TOPIC_BYTES + 1 ? size : MAX_TOPIC_BYTES + 1);
    if (end != NULL && size <= default_max_frame) {
        Py_ssize_t body = end + 1 - frame + HEADER_BYTES;
        const unsigned char *header = end + 1, *tlv = frame + body;
        if (size >= body + TLV_BYTES && get(header, 4) == HEAD && get(header + 4, 2) && get(header + 6, 2) &&
            get(header + 24, 8) && (Py_ssize_t)get(header + 40, 4) == size - body && get(tlv, 2) == TLV_PAYLOAD &&
            (Py_ssize_t)get(tlv + 2, 4) == size - body - TLV_BYTES) {
            uint32_t checksum;
            if (crc32_of(tlv, size - body, &checksum) < 0) {
                return NULL;
            }
            if (checksum != get(header + 44, 4)) {
                return PyObject_Vectorcall(parse_any, args, count, names);
            }
            PyObject *raw = PyBytes_FromStringAndSize((const char *)frame, end - frame);
            PyObject *topic = raw == NULL ? NULL : PyObject_CallOneArg(topic_text, raw);
            PyObject *made = NULL;
            if (topic != NULL) {
                made = envelope_of(topic, header, tlv + TLV_BYTES, size - body - TLV_BYTES);
            }
            Py_XDECREF(topic);
            Py_XDECREF(raw);
            return made;
        }
    }
    return PyObject_Vectorcall(parse_any, args, count, names);
}

/* The number in ``value`` if it fits into so many bytes; else 0, and *fits is cleared. */
static uint64_t
number(PyObject *value, int bytes, int *fits)
{
    uint64_t found = PyLong_CheckExact(value) ? PyLong_AsUnsignedLongLong(value) : (uint64_t)-1;
    if (found == (uint64_t)-1 || (bytes < 8 && found >> (8 * bytes))) {
        PyErr_Clear();
        *fits = 0; /* or is the largest of all; the other function can tell */
        return 0;
    }
    return found;
}

static PyObject *
build_frame(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const int widths[6] = {2, 2, 8, 8, 8, 8};
    uint64_t fields[6];
    int plain = count == 8 && names == NULL && PyBytes_CheckExact(args[7]);
    for (int i = 0; plain && i < 6; i++) {
        fields[i] = number(args[i + 1], widths[i], &plain);
    }
    PyObject *topic = plain ? PyObject_CallOneArg(topic_bytes, args[0]) : NULL;
    if (topic == NULL || !PyBytes_CheckExact(topic)) {
        Py_XDECREF(topic);
        PyErr_Clear();
        return PyObject_Vectorcall(build_any, args, count, names);
    }
    Py_ssize_t before = PyBytes_GET_SIZE(topic), payload = PyBytes_GET_SIZE(args[7]);
    Py_ssize_t size = before + HEADER_BYTES + TLV_BYTES + payload;
    if (size > default_max_frame) {
        Py_DECREF(topic);
        return PyObject_Vectorcall(build_any, args, count, names);
    }
    PyObject *frame = PyBytes_FromStringAndSize(NULL, size);
    if (frame != NULL) {
        unsigned char *at = (unsigned char *)PyBytes_AS_STRING(frame);
        memcpy(at, PyBytes_AS_STRING(topic), before);
        unsigned char *header = at + before, *tlv = header + HEADER_BYTES;
        put(tlv, TLV_PAYLOAD, 2);
        put(tlv + 2, payload, 4);
        memcpy(tlv + TLV_BYTES, PyBytes_AS_STRING(args[7]), payload);
        put(header, HEAD, 4);
        for (int i = 0, offset = 4; i < 6; offset += widths[i], i++) {
            put(header + offset, fields[i], widths[i]);
        }
        put(header + 40, TLV_BYTES + payload, 4);
        uint32_t checksum;
        if (crc32_of(tlv, TLV_BYTES + payload, &checksum) < 0) {
            Py_CLEAR(frame);
        }
        else {
            put(header + 44, checksum, 4);
        }
    }
    Py_DECREF(topic);
    return frame;
}

static PyMethodDef methods[] = {
    {"configure", configure, METH_VARARGS, "Take what else is needed from envelope.py."},
    {"decode_frame", (PyCFunction)(void (*)(void))decode_frame, METH_FASTCALL | METH_KEYWORDS, "See envelope.py."},
    {"build_frame", (PyCFunction)(void (*)(void))build_frame, METH_FASTCALL | METH_KEYWORDS, "See envelope.py."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_codec", NULL, -1, methods};

PyMODINIT_FUNC
PyInit__codec(void)
{
    make_crc_table();
    return PyModule_Create(&definition);
}
