/* SPDX-License-Identifier: Apache-2.0
 *
 * What a request must look like. libmicrohttpd takes a lot that other programs on the
 * way read otherwise, and hides it: bare LF, folded lines, NUL, spaces around names. It
 * parses in place, though, and only writes NUL over the separators: of the method, the
 * target, each colon, each end of a line. So the header as it lies in memory, [method,
 * method + size), still tells what came:
 *
 *   GET 0 /path 0 HTTP/1.1 0 0 Host 0 _ a.b 0 0 0 0
 *
 * It is copied whole and read again, strictly. An end of line that was not CRLF, a fold
 * or a NUL breaks this pattern, or leaves another number of headers than libmicrohttpd
 * counts (a NUL can only split a line in two, never join two).
 *
 * A body that comes in chunks is decoded by libmicrohttpd; what it may read otherwise
 * than a proxy before us stays within that request, since its connection is closed
 * after the reply: nothing behind such a body is ever taken for another request.
 */
#include "config.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "http/impl.h"
#include "http/text.h"

#define FIELDS_MAX 128

static int bad(const char **ret_why, const char *why)
{
    *ret_why = why;
    return 400;
}

/* The next line of [*at, end): name 0 ows value 0 0. */
static int take_field(struct http_request *r, char **at, char *end,
                      const char **ret_why)
{
    char *name = *at, *value, *stop;
    size_t name_len = strnlen(name, (size_t)(end - name)), len;
    if (!http__is_token(name))
        return bad(ret_why,
                   "a header's name is not a token (or a line is folded, or has "
                   "a space before its colon)");
    value = name + name_len + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    if (value >= end)
        return bad(ret_why, "a header line is cut");
    len = strnlen(value, (size_t)(end - value));
    stop = value + len;
    if (end - stop < 2 || stop[1])
        return bad(ret_why, "a header line does not end in CRLF, or holds NUL");
    if (!http__is_value(value, len))
        return bad(ret_why, "a header's value has control characters");
    while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        value[--len] = '\0';
    *at = stop + 2;
    *RWF_PUSH(r->fields, r->field_count, r->field_cap) =
        (struct http__field){.name = name, .value = value};
    return 0;
}

static int take_fields(struct http_request *r, size_t from, const char **ret_why)
{
    char *at = r->block.data + from, *end = r->block.data + r->block.len;
    int rc = 0;
    while (!rc && at < end && *at) {
        if (r->field_count == FIELDS_MAX) {
            *ret_why = "too many headers";
            return 431;
        }
        rc = take_field(r, &at, end, ret_why);
    }
    if (!rc && (end - at != 2 || at[0] || at[1]))
        rc = bad(ret_why, "the header does not end in an empty line of CRLF");
    return rc;
}

/* What is about the message itself. */
struct framing {
    const char *length, *encoding, *host, *expect;
    int lengths, encodings, hosts;
};

static void note_field(struct http_request *r, const struct http__field *f,
                       struct framing *m)
{
    switch (f->name[0] | 0x20) {
    case 'c':
        if (!strcasecmp(f->name, "content-length"))
            m->length = f->value, m->lengths++;
        break;
    case 't':
        if (!strcasecmp(f->name, "transfer-encoding"))
            m->encoding = f->value, m->encodings++;
        break;
    case 'h':
        if (!strcasecmp(f->name, "host"))
            m->host = f->value, m->hosts++;
        break;
    case 'e':
        if (!strcasecmp(f->name, "expect"))
            m->expect = f->value;
        break;
    case 'o':
        if (!strcasecmp(f->name, "origin"))
            r->origin = f->value;
        break;
    case 'a':
        if (!strcasecmp(f->name, "authorization"))
            r->authorization = f->value;
        break;
    }
}

static int check_length(struct http_request *r, const char *text, const char **ret_why)
{
    uint64_t n = 0;
    size_t i = 0;
    for (; text[i] >= '0' && text[i] <= '9' && i < 18; i++)
        n = n * 10 + (uint64_t)(text[i] - '0');
    if (!i || text[i])
        return bad(ret_why, "Content-Length is not a number");
    r->length = n;
    return 0;
}

/* "HOST[:PORT]", with what the RFC allows in a name or an address; or nothing. */
static bool is_host(const char *text)
{
    static const char plain[] = "-._~%!$&'()*+,;=:[]";
    for (; *text; text++)
        if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
              (*text >= '0' && *text <= '9') || strchr(plain, *text)))
            return false;
    return true;
}

static int check_framing(struct http_request *r, const struct framing *m, bool old,
                         const char **ret_why)
{
    if (m->lengths > 1)
        return bad(ret_why, "more than one Content-Length");
    if (m->encodings > 1)
        return bad(ret_why, "more than one Transfer-Encoding");
    if (m->lengths && m->encodings)
        return bad(ret_why, "both Content-Length and Transfer-Encoding");
    if (m->encodings && (old || strcasecmp(m->encoding, "chunked") != 0))
        return bad(ret_why, "a Transfer-Encoding that is not chunked, or in HTTP/1.0");
    if (m->hosts > 1 || (!m->hosts && !old))
        return bad(ret_why, "not exactly one Host header");
    if (m->hosts && !is_host(m->host))
        return bad(ret_why, "the Host header is no host and port");
    r->chunked = m->encodings > 0;
    r->expects = m->expect && !strcasecmp(m->expect, "100-continue");
    return m->lengths ? check_length(r, m->length, ret_why) : 0;
}

/* HTTP/1.0 or HTTP/1.1, and CRLF; *ret_old: 1.0. */
static bool check_version(const char *version, bool *ret_old)
{
    *ret_old = version[7] == '0';
    return !memcmp(version, "HTTP/1.", 7) && (version[7] == '0' || version[7] == '1') &&
           !version[8] && !version[9];
}

static int count_of(struct http_request *r)
{
    return r->s->mhd->values(r->conn->mhd, MHD_HEADER_KIND, NULL, NULL);
}

int http__check_header(struct http_request *r, const char *method, const char *uri,
                       const char *version, size_t size, const char **ret_why)
{
    size_t method_len = strlen(method), line;
    struct framing m = {0};
    bool old;
    if (!http__is_token(method) || uri != method + method_len + 1 ||
        version != uri + r->target.len + 1 || !check_version(version, &old))
        return bad(ret_why,
                   "the request line is not 'METHOD SP TARGET SP HTTP/1.1 CRLF'");
    line = (size_t)(version - method) + 10;
    if (size < line + 2)
        return bad(ret_why, "the header is cut");
    if (size > r->s->o.max_header) {
        *ret_why = "the header is too large";
        return 431;
    }
    r->block.len = 0;
    rwf_str_addn(&r->block, method, size);
    r->method = r->block.data;
    int rc = take_fields(r, line, ret_why);
    if (!rc && count_of(r) != (int)r->field_count)
        rc = bad(ret_why, "a header line holds NUL");
    if (rc)
        return rc;
    for (size_t i = 0; i < r->field_count; i++)
        note_field(r, &r->fields[i], &m);
    return check_framing(r, &m, old, ret_why);
}

/* Decodes [path, end) in place; the length, or -1. */
static ssize_t decode(char *path, const char *end)
{
    char *to = path;
    for (const char *at = path; at < end; at++) {
        char c = *at;
        if (c == '%') {
            int high = end - at > 2 ? http__hex(at[1]) : -1;
            int low = high < 0 ? -1 : http__hex(at[2]);
            if (low < 0)
                return -1;
            c = (char)(high << 4 | low);
            at += 2;
        }
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return -1;
        *to++ = c;
    }
    return to - path;
}

static bool climbs(const char *path)
{
    for (const char *at = path; (at = strstr(at, "..")); at += 2)
        if ((at == path || at[-1] == '/' || at[-1] == '\\') &&
            (!at[2] || at[2] == '/' || at[2] == '\\'))
            return true;
    return false;
}

/* Past "http://host" of an absolute target. */
static char *skip_authority(char *target)
{
    if (!strncasecmp(target, "http://", 7))
        target += 7;
    else if (!strncasecmp(target, "https://", 8))
        target += 8;
    else
        return target;
    return target + strcspn(target, "/?");
}

int http__check_target(struct http_request *r, const char **ret_why)
{
    char *path = r->target.data, *query;
    for (const char *at = path; *at; at++)
        if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f || *at == '#')
            return bad(ret_why, "the target has characters that must be escaped");
    if (!strcmp(path, "*") && !strcmp(r->method, "OPTIONS")) {
        r->path = path, r->query = "";
        return 0;
    }
    path = skip_authority(path);
    query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    if (*path != '/')
        return bad(ret_why, "the path does not begin with '/'");
    ssize_t len =
        strchr(path, '%') ? decode(path, path + strlen(path)) : (ssize_t)strlen(path);
    if (len < 0)
        return bad(ret_why,
                   "the path has a wrong escape, or one of a control character");
    path[len] = '\0';
    if (!rwf_utf8_valid(path, (size_t)len))
        return bad(ret_why, "the path is not UTF-8");
    if (climbs(path))
        return bad(ret_why, "the path has '..'");
    r->path = path;
    r->query = query ? query : "";
    return 0;
}

/* As long for any text of the same length, whichever key it is like. */
static unsigned differs(const char *text, size_t len, const char *key)
{
    size_t key_len = strlen(key);
    volatile unsigned diff = (unsigned)(len != key_len) | (unsigned)(key_len == 0);
    for (size_t i = 0; i < len; i++)
        diff |= (unsigned char)text[i] ^ (unsigned char)key[key_len ? i % key_len : 0];
    return diff;
}

bool http__check_key(const struct http_server *s, const char *authorization)
{
    bool found = false;
    if (!authorization || strncasecmp(authorization, "bearer ", 7) != 0)
        return false;
    authorization += 7;
    authorization += strspn(authorization, " ");
    size_t len = strlen(authorization);
    for (const char *const *key = s->o.api_keys; *key; key++)
        found |= !differs(authorization, len, *key);
    return found;
}
