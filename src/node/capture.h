/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process writes: its output into a bounded, redacted file, and the lines of its
 * report descriptor as JSON objects. Both read a non-blocking pipe when told to.
 */
#ifndef RWF_NODE_CAPTURE_H
#define RWF_NODE_CAPTURE_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

/* Output as it is kept: redacted. */
typedef void (*node__output_fn)(void *ctx, int stream, const void *data, size_t size);

struct node__capture {
    node__output_fn fn;  /* NULL: nobody else wants it */
    void *ctx;
    int stream;          /* for fn: 1 stdout, 2 stderr */
    int pipe;            /* -1 when at its end */
    int file;            /* -1 until there is something to write */
    char *path;          /* of the file */
    int64_t limit;
    int64_t total;       /* bytes seen, after redaction */
    int64_t written;     /* of them in the file */
    bool failed;         /* the disk refused; what follows counts as left out */
    struct rwf_str held; /* the redactor's */
    struct rwf_str last; /* the newest bytes */
};

/* Takes the read end and path over. path NULL: nothing is written. */
void node__capture_open(struct node__capture *c, int pipe, char *path, int64_t limit);
/* Reads what is there, at most a few buffers. true: the pipe is at its end. */
bool node__capture_read(struct node__capture *c);
/* The same with bytes that came another way (pipe -1). */
void node__capture_put(struct node__capture *c, const void *bytes, size_t len);
/* Writes what was kept back (an empty file, if there was nothing at all); closes the
 * file, and the pipe if it is still open. */
void node__capture_close(struct node__capture *c);
/* The last lines (about 20, at most 4 KiB), as UTF-8; NULL when there are none. */
char *node__capture_tail(const struct node__capture *c);
void node__capture_free(struct node__capture *c);

struct node__report {
    int pipe;
    void (*fn)(void *ctx, const json_t *line);
    void *ctx;
    struct rwf_str line;
    bool skip;           /* the rest of a line that is too long */
    int64_t bad;
    char first_bad[64];
};

bool node__report_read(struct node__report *r);
/* Takes a last line without its newline; tells of bad ones, if there were any. */
void node__report_close(struct node__report *r);

#endif
