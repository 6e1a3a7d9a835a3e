/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside prepare_data: what its two kinds (rows, tokens) share. Splits are read as
 * streams of columns and written as streams of bytes, so that neither needs to fit in
 * memory.
 */
#ifndef RWF_TRAIN_PREPARE_H
#define RWF_TRAIN_PREPARE_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/map.h"
#include "base/str.h"
#include "data/duck.h"
#include "plan/op.h"

enum prepare_type {
    PREPARE_NUMBER,
    PREPARE_WHOLE,
    PREPARE_BOOLEAN,
    PREPARE_TEXT,
    PREPARE_OTHER
};

struct prepare_split {
    const char *name;      /* "train", "val" */
    const char *phase;     /* what is done with it, for people */
    json_t *read;          /* {"path": …} */
    char *select;          /* SELECT of all its columns */
    json_t *columns;       /* [{"name","type"}] */
    struct rwf_map *index; /* of columns, by name */
    int64_t bytes;         /* of its files */
    int64_t rows;          /* 0: not counted yet */
};

struct prepare {
    const struct op_run *run;
    const json_t *spec;
    const char *folder; /* that is being made */
    struct duck *duck;
    int cores;
    bool has_val;
    struct prepare_split train, val;
    json_t *info; /* data.json, being made */
    /* progress: bytes of files that were read, and will be, in all phases */
    double bytes_done, bytes_all;
    int64_t reported; /* when */
};

/* spec[key][name]; NULL when it is not there or null. */
const json_t *prepare__get(const struct prepare *p, const char *key, const char *name);
/* A line for people in the step's log. */
void prepare__note(const struct prepare *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* --- splits --- */

int prepare__open_split(struct prepare *p, struct prepare_split *s, const char *name,
                        struct rwf_err *err);
/* Columns of these types: {column: "DOUBLE"}. For a split whose files tell other types
 * than those of the training split do. */
int prepare__cast_split(struct prepare *p, struct prepare_split *s, json_t *types,
                        struct rwf_err *err);
void prepare__close_split(struct prepare_split *s);
/* The type of a column; -1 and what columns there are, with the likely one. */
int prepare__column(const struct prepare_split *s, const char *name,
                    enum prepare_type *ret, struct rwf_err *err);
/* What DuckDB calls the type of a column that is there. */
const char *prepare__type_name(const struct prepare_split *s, const char *name);
/* Streams `list` (of a SELECT) of the split to each, with progress; errors name the
 * split. */
int prepare__stream(struct prepare *p, const struct prepare_split *s, const char *list,
                    duck_chunk_fn each, void *ctx, struct rwf_err *err);
/* From each: rows seen so far, and a line for people, or NULL. */
void prepare__progress(struct prepare *p, const struct prepare_split *s, int64_t rows,
                       const char *message);

/* --- files of the folder --- */

struct prepare_sink {
    char *path;
    int fd;
    char *buffer;
    size_t used;
    int64_t written;
};

int prepare__sink_open(struct prepare *p, struct prepare_sink *s, const char *split,
                       const char *part, struct rwf_err *err);
int prepare__sink_add(struct prepare_sink *s, const void *bytes, size_t size,
                      struct rwf_err *err);
/* Synced to disk. */
int prepare__sink_close(struct prepare_sink *s, struct rwf_err *err);
/* Harmless after close and on a zeroed one. */
void prepare__sink_abort(struct prepare_sink *s);
int prepare__write_json(struct prepare *p, const char *name, const json_t *value,
                        struct rwf_err *err);
/* RWF_E_ENV when the folder's disk has no room for so many bytes. */
int prepare__room(const struct prepare *p, double bytes, struct rwf_err *err);

/* --- the two kinds --- */

int prepare__rows(struct prepare *p, struct rwf_err *err);
int prepare__tokens(struct prepare *p, struct rwf_err *err);
/* The tokenizer.json that a spec names, absolute, which the caller frees; NULL when it
 * is to be trained. */
int prepare__tokenizer(const struct prepare *p, char **ret_path, struct rwf_err *err);

#endif
