/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "http/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "http/text.h"

#define FIELDS_MAX 256
#define LINE_MAX_LEN 4096 /* of a chunk's size line or of a trailer's */

void http__parser_start(struct http__parser *p, bool head, size_t max_header)
{
    p->state = HTTP__IN_HEADER;
    p->head = head;
    p->max_header = max_header;
    p->text.len = p->scanned = 0;
    p->left = p->trailer = 0;
    p->count = 0;
    p->status = 0;
    p->length = -1;
    p->old = p->keep = false;
}

void http__parser_free(struct http__parser *p)
{
    rwf_str_free(&p->text);
    free(p->names);
    free(p->values);
    *p = (struct http__parser){0};
}

static enum http__event wrong(struct rwf_err *err, const char *what)
{
    rwf_fail(err, EPROTO, "the reply is not HTTP/1.1: %s", what);
    return HTTP__WRONG;
}

/* --- the header --- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK"; the reason may be missing. */
static int take_status(struct http__parser *p, const char *line)
{
    if (strncmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
        line[8] != ' ' || !is_digit(line[9]) || !is_digit(line[10]) ||
        !is_digit(line[11]) || (line[12] && line[12] != ' '))
        return -1;
    p->old = line[7] == '0';
    p->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + line[11] - '0';
    return p->status >= 100 && p->status <= 599 ? 0 : -1;
}

static void push_field(struct http__parser *p, const char *name, const char *value)
{
    p->names = rwf_grow(p->names, p->count, &p->name_cap, sizeof(*p->names));
    p->values = rwf_grow(p->values, p->count, &p->value_cap, sizeof(*p->values));
    p->names[p->count] = name;
    p->values[p->count++] = value;
}

/* "Name: value", NUL in place of CRLF. */
static const char *take_field(struct http__parser *p, char *line)
{
    char *colon = strchr(line, ':'), *value, *end;
    if (!colon)
        return "a header line without a colon";
    *colon = '\0';
    if (!http__is_token(line))
        return "a header's name is not a token";
    value = colon + 1 + strspn(colon + 1, " \t");
    if (!http__is_value(value, strlen(value)))
        return "a header's value has control characters";
    for (end = value + strlen(value);
         end > value && (end[-1] == ' ' || end[-1] == '\t');)
        *--end = '\0';
    if (p->count == FIELDS_MAX)
        return "too many headers";
    push_field(p, line, value);
    return NULL;
}

/* Cuts the lines of text[0, len), which ends in CRLF CRLF. */
static const char *take_lines(struct http__parser *p, size_t len)
{
    char *at = p->text.data, *end = at + len - 2;
    bool first = true;
    if (memchr(at, '\0', len))
        return "the header holds NUL";
    while (at < end) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop || stop == at || stop[-1] != '\r')
            return "a line does not end in CRLF";
        stop[-1] = '\0';
        if (first && take_status(p, at))
            return "the status line is malformed";
        const char *why = first ? NULL : take_field(p, at);
        if (why)
            return why;
        first = false;
        at = stop + 1;
    }
    return NULL;
}

static const char *take_length(struct http__parser *p, const char *value)
{
    int64_t n = 0;
    size_t i = 0;
    if (p->length >= 0)
        return "more than one Content-Length";
    for (; is_digit(value[i]) && i < 18; i++)
        n = n * 10 + (value[i] - '0');
    if (!i || value[i])
        return "Content-Length is not a number";
    p->length = n;
    return NULL;
}

/* Drops the headers that are only between the two of us. */
static void drop_hops(struct http__parser *p, const char *connection)
{
    static const char *const hops[] = {
        "connection", "keep-alive",        "proxy-connection", "te",
        "trailer",    "transfer-encoding", "upgrade",          "content-length"};
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++) {
        bool hop = connection && http__has_word(connection, p->names[i]);
        for (size_t k = 0; !hop && k < RWF_COUNT(hops); k++)
            hop = !strcasecmp(p->names[i], hops[k]);
        if (hop)
            continue;
        p->names[kept] = p->names[i];
        p->values[kept++] = p->values[i];
    }
    p->count = kept;
}

static const char *take_framing(struct http__parser *p)
{
    const char *encoding = NULL, *connection = NULL, *why = NULL;
    for (size_t i = 0; i < p->count && !why; i++) {
        if (!strcasecmp(p->names[i], "content-length"))
            why = take_length(p, p->values[i]);
        else if (!strcasecmp(p->names[i], "transfer-encoding"))
            why = encoding ? "more than one Transfer-Encoding" : NULL,
            encoding = p->values[i];
        else if (!strcasecmp(p->names[i], "connection"))
            connection = p->values[i];
    }
    if (why)
        return why;
    if (encoding && (p->length >= 0 || p->old || strcasecmp(encoding, "chunked") != 0))
        return "a Transfer-Encoding that is not chunked alone";
    p->keep = !p->old && !(connection && http__has_word(connection, "close"));
    drop_hops(p, connection);
    if (p->head || p->status == 204 || p->status == 304)
        p->state = HTTP__IN_END;
    else if (encoding)
        p->state = HTTP__IN_SIZE;
    else if (p->length >= 0)
        p->state = HTTP__IN_LENGTH, p->left = (uint64_t)p->length;
    else
        p->state = HTTP__IN_REST, p->keep = false;
    return NULL;
}

/* Adds bytes to text up to and with `end`; true once it is there. */
static bool gather(struct http__parser *p, const char **data, size_t *size,
                   const char *end)
{
    size_t end_len = strlen(end), had = p->text.len;
    size_t from = had >= end_len ? had - end_len + 1 : 0;
    rwf_str_addn(&p->text, *data, *size);
    char *found = memmem(p->text.data + from, p->text.len - from, end, end_len);
    size_t used = found ? (size_t)(found - p->text.data) + end_len - had : *size;
    p->text.len = had + used;
    p->text.data[p->text.len] = '\0';
    *data += used;
    *size -= used;
    return found != NULL;
}

static enum http__event in_header(struct http__parser *p, const char **data,
                                  size_t *size, struct rwf_err *err)
{
    /* No more than could still be a header, so that a body behind it is not copied. */
    size_t room = p->max_header + 1 - p->text.len, given = *size < room ? *size : room;
    size_t rest = *size - given;
    bool whole = gather(p, data, &given, "\r\n\r\n");
    *size = given + rest;
    if (p->text.len > p->max_header)
        return wrong(err, "its header is too large");
    if (!whole)
        return HTTP__MORE;
    const char *why = take_lines(p, p->text.len);
    if (why)
        return wrong(err, why);
    if (p->status == 101)
        return wrong(err, "it switches to another protocol");
    if (p->status < 200) { /* 100 Continue and the like come before the real one */
        http__parser_start(p, p->head, p->max_header);
        return HTTP__MORE;
    }
    why = take_framing(p);
    p->text.len = 0; /* the names and values stay until the next bytes */
    return why ? wrong(err, why) : HTTP__HEADER;
}

/* --- the body --- */

static enum http__event piece(struct http__parser *p, const char **data, size_t *size,
                              uint64_t max)
{
    size_t n = *size < max ? *size : (size_t)max;
    p->piece = *data;
    p->piece_size = n;
    *data += n;
    *size -= n;
    return HTTP__PIECE;
}

static enum http__event in_length(struct http__parser *p, const char **data,
                                  size_t *size)
{
    if (!p->left) {
        p->state = HTTP__IN_END;
        return HTTP__END;
    }
    if (!*size)
        return HTTP__MORE;
    enum http__event e = piece(p, data, size, p->left);
    p->left -= p->piece_size;
    return e;
}

/* A line without its CRLF in text; NULL with *ret HTTP__MORE or HTTP__WRONG. */
static char *take_line(struct http__parser *p, const char **data, size_t *size,
                       enum http__event *ret, struct rwf_err *err)
{
    bool whole = gather(p, data, size, "\n");
    size_t len = p->text.len;
    *ret = HTTP__MORE;
    if (len > LINE_MAX_LEN) {
        *ret = wrong(err, "a line between chunks is too long");
    } else if (whole && (len < 2 || p->text.data[len - 2] != '\r')) {
        *ret = wrong(err, "a line between chunks does not end in CRLF");
    } else if (whole) {
        p->text.data[len - 2] = '\0';
        p->text.len = 0; /* the text stays until the next bytes */
        if (http__is_value(p->text.data, len - 2))
            return p->text.data;
        *ret = wrong(err, "a line between chunks has control characters");
    }
    return NULL;
}

static enum http__event in_size(struct http__parser *p, const char **data, size_t *size,
                                struct rwf_err *err)
{
    enum http__event e;
    uint64_t n = 0;
    size_t i = 0;
    const char *line = take_line(p, data, size, &e, err);
    if (!line)
        return e;
    for (int digit; i < 15 && (digit = http__hex(line[i])) >= 0; i++)
        n = n << 4 | (uint64_t)digit;
    if (!i || (line[i] && line[i] != ';' && line[i] != ' ' && line[i] != '\t'))
        return wrong(err, "the size of a chunk is not a hexadecimal number");
    if (line[i] && line[i + strspn(line + i, " \t")] != ';')
        return wrong(err, "the size of a chunk is followed by something else");
    p->left = n;
    p->state = n ? HTTP__IN_CHUNK : HTTP__IN_TRAILER;
    return HTTP__MORE;
}

static enum http__event in_chunk(struct http__parser *p, const char **data,
                                 size_t *size)
{
    if (!*size)
        return HTTP__MORE;
    enum http__event e = piece(p, data, size, p->left);
    p->left -= p->piece_size;
    if (!p->left)
        p->state = HTTP__IN_CHUNK_END;
    return e;
}

static enum http__event in_chunk_end(struct http__parser *p, const char **data,
                                     size_t *size, struct rwf_err *err)
{
    enum http__event e;
    const char *line = take_line(p, data, size, &e, err);
    if (!line)
        return e;
    if (*line)
        return wrong(err, "a chunk is longer than its size");
    p->state = HTTP__IN_SIZE;
    return HTTP__MORE;
}

static enum http__event in_trailer(struct http__parser *p, const char **data,
                                   size_t *size, struct rwf_err *err)
{
    enum http__event e;
    for (;;) {
        const char *line = take_line(p, data, size, &e, err);
        if (!line)
            return e;
        if (!*line)
            break;
        p->trailer += strlen(line);
        if (!strchr(line, ':') || p->trailer > p->max_header)
            return wrong(err, "the trailer is malformed or too large");
    }
    p->state = HTTP__IN_END;
    return HTTP__END;
}

/* HTTP__MORE with bytes left: on to the next state. */
static enum http__event step(struct http__parser *p, const char **data, size_t *size,
                             struct rwf_err *err)
{
    switch (p->state) {
    case HTTP__IN_HEADER:
        return in_header(p, data, size, err);
    case HTTP__IN_LENGTH:
        return in_length(p, data, size);
    case HTTP__IN_REST:
        return piece(p, data, size, UINT64_MAX);
    case HTTP__IN_SIZE:
        return in_size(p, data, size, err);
    case HTTP__IN_CHUNK:
        return in_chunk(p, data, size);
    case HTTP__IN_CHUNK_END:
        return in_chunk_end(p, data, size, err);
    case HTTP__IN_TRAILER:
        return in_trailer(p, data, size, err);
    case HTTP__IN_END:
        break;
    }
    return HTTP__END;
}

enum http__event http__parse(struct http__parser *p, const char **data, size_t *size,
                             struct rwf_err *err)
{
    enum http__event e = HTTP__MORE;
    while (e == HTTP__MORE &&
           (*size || p->state == HTTP__IN_END || p->state == HTTP__IN_LENGTH)) {
        e = step(p, data, size, err);
        if (!*size && p->state == HTTP__IN_LENGTH && p->left)
            break;
    }
    return e;
}

enum http__event http__parse_eof(struct http__parser *p, struct rwf_err *err)
{
    if (p->state == HTTP__IN_REST || p->state == HTTP__IN_END)
        return HTTP__END;
    if (p->state == HTTP__IN_HEADER && !p->text.len)
        rwf_fail(err, ECONNRESET, "the connection was closed before a reply");
    else
        rwf_fail(err, ECONNRESET,
                 "the connection was closed in the middle of the reply");
    return HTTP__WRONG;
}
