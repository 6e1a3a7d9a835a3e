/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads an HTTP/1.1 reply from bytes as they come. Strict: what could be read in two
 * ways is an error. Pure: it takes bytes and gives events.
 */
#ifndef RWF_HTTP_PARSE_H
#define RWF_HTTP_PARSE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

enum http__event {
    HTTP__MORE,   /* all bytes are taken */
    HTTP__HEADER, /* p->status and the headers are there */
    HTTP__PIECE,  /* p->piece, p->piece_size; it points into the caller's bytes */
    HTTP__END,    /* the reply is complete; what is left is not of it */
    HTTP__WRONG,  /* *err says what */
};

enum http__parse_state {
    HTTP__IN_HEADER,
    HTTP__IN_LENGTH, /* a body of known length */
    HTTP__IN_REST,   /* a body until the connection ends */
    HTTP__IN_SIZE,   /* the line before a chunk */
    HTTP__IN_CHUNK,
    HTTP__IN_CHUNK_END, /* the CRLF after it */
    HTTP__IN_TRAILER,
    HTTP__IN_END,
};

struct http__parser {
    enum http__parse_state state;
    size_t max_header;
    bool head;           /* the reply to a HEAD has no body */
    struct rwf_str text; /* of the header, or of a line that is not complete */
    size_t scanned;
    uint64_t left;  /* of the body, or of the chunk */
    size_t trailer; /* bytes of it */
    int status;
    int64_t length;               /* announced; -1: not known */
    bool old, keep;               /* HTTP/1.0; the connection may be used again */
    const char **names, **values; /* into text */
    size_t count, name_cap, value_cap;
    const char *piece;
    size_t piece_size;
};

void http__parser_start(struct http__parser *p, bool head, size_t max_header);
/* Takes from *data, moving it on. */
enum http__event http__parse(struct http__parser *p, const char **data, size_t *size,
                             struct rwf_err *err);
/* The connection has ended: HTTP__END or HTTP__WRONG. */
enum http__event http__parse_eof(struct http__parser *p, struct rwf_err *err);
void http__parser_free(struct http__parser *p);

#endif
