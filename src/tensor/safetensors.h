/* SPDX-License-Identifier: Apache-2.0
 *
 * safetensors files and folders of them: 8 bytes of header length (little-endian), a JSON
 * object {name: {"dtype","shape","data_offsets":[begin,end]}, "__metadata__": {…}}, then the
 * bytes. Read by mmap; nothing that a file says is believed before it is checked: header at
 * most 100 MB, offsets in order without gap or overlap and up to the file's end, dtype x shape
 * equal to the bytes (overflow checked), names once, shard names beneath the folder. (A file
 * that somebody cuts short after it was opened ends the process: SIGBUS.)
 * Source: the format's description at huggingface/safetensors.
 */
#ifndef RWF_TENSOR_SAFETENSORS_H
#define RWF_TENSOR_SAFETENSORS_H
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "base/digest.h"
#include "base/err.h"

enum safetensors_type {
    SAFETENSORS_F64, SAFETENSORS_F32, SAFETENSORS_F16, SAFETENSORS_BF16, SAFETENSORS_I64,
    SAFETENSORS_I32, SAFETENSORS_I16, SAFETENSORS_I8, SAFETENSORS_U8, SAFETENSORS_BOOL,
    SAFETENSORS_U16, SAFETENSORS_U32, SAFETENSORS_U64, SAFETENSORS_C64,
    SAFETENSORS_F8_E4M3, SAFETENSORS_F8_E5M2, SAFETENSORS_F8_E8M0,
    SAFETENSORS_OTHER, /* a type that we do not know: dtype says which */
};
#define SAFETENSORS_DIMS_MAX 8

struct safetensors_entry {
    const char *name;
    const char *file;  /* that it lies in, for messages */
    const char *dtype; /* as the file has it */
    enum safetensors_type type;
    int dims;
    int64_t shape[SAFETENSORS_DIMS_MAX];
    const void *data; /* in the mapping; aligned only as the file has it */
    size_t bytes;
};

struct safetensors;

/* path: a file, or a folder with model.safetensors or model.safetensors.index.json.
 * RWF_E_INPUT with the file and what is wrong. */
struct safetensors *safetensors_open(const char *path, struct rwf_err *err);
/* The same of bytes in memory (borrowed): for tests and fuzzing. */
struct safetensors *safetensors_parse(const void *bytes, size_t size, const char *name,
                                      struct rwf_err *err);
void safetensors_close(struct safetensors *s);
/* In the order of their bytes, shard by shard. */
size_t safetensors_count(const struct safetensors *s);
const struct safetensors_entry *safetensors_at(const struct safetensors *s, size_t i);
/* NULL when there is none. */
const struct safetensors_entry *safetensors_find(const struct safetensors *s, const char *name);
/* Values first..first+count as floats (from F64, F32, F16, BF16). -1 for other types. */
int safetensors_floats(const struct safetensors_entry *e, int64_t first, int64_t count,
                       float *to, struct rwf_err *err);
/* The number of its values; 0 for SAFETENSORS_OTHER. */
int64_t safetensors_elements(const struct safetensors_entry *e);
/* "F32" and the bytes of an element (SAFETENSORS_OTHER: "?" and 0). */
const char *safetensors_type_name(enum safetensors_type type);
size_t safetensors_type_size(enum safetensors_type type);

/* --- writing: declare all, then stream the bytes in that order --- */

struct safetensors_writer;

/* Creates path (which must not exist). metadata: {name: text} or NULL; transformers wants
 * {"format": "pt"}. */
struct safetensors_writer *safetensors_create(const char *path, const json_t *metadata,
                                              struct rwf_err *err);
int safetensors_declare(struct safetensors_writer *w, const char *name,
                        enum safetensors_type type, int dims, const int64_t *shape,
                        struct rwf_err *err);
/* Appends bytes of the tensors in the order of their declaration, in any pieces. The first
 * call writes the header. */
int safetensors_write(struct safetensors_writer *w, const void *bytes, size_t size,
                      struct rwf_err *err);
/* Writes the header if nothing else did, fsync and close; -1 when bytes are missing or the disk is full. ret_digest: SHA-256 of the
 * file, or NULL. Frees w in any case. */
int safetensors_finish(struct safetensors_writer *w, char ret_digest[RWF_DIGEST_LEN], struct rwf_err *err);
/* Gives up: closes and removes the file. NULL is fine. */
void safetensors_abort(struct safetensors_writer *w);

#endif
