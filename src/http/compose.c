/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "http/compose.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "http/text.h"

/* Between the two ends of one connection, or made here. */
static bool is_ours(const char *name)
{
    static const char *const names[] = {
        "connection", "content-length",    "expect",
        "keep-alive", "proxy-connection",  "te",
        "trailer",    "transfer-encoding", "upgrade",
    };
    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if (!strcasecmp(name, names[i]))
            return true;
    return false;
}

static bool is_target(const char *path)
{
    for (const char *at = path; *at; at++)
        if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f)
            return false;
    return *path == '/' || !strcmp(path, "*");
}

static void add_field(struct rwf_str *out, const char *name, const char *value)
{
    rwf_str_add(out, name);
    rwf_str_add(out, ": ");
    rwf_str_add(out, value);
    rwf_str_add(out, "\r\n");
}

int http__compose(struct rwf_str *out, const struct http_call_options *o,
                  struct rwf_err *err)
{
    bool host = false;
    if (!http__is_token(o->method) || !is_target(o->path))
        return rwf_fail(err, EINVAL, "not a method and a path: '%s %s'", o->method,
                        o->path);
    rwf_str_add(out, o->method);
    rwf_str_addc(out, ' ');
    rwf_str_add(out, o->path);
    rwf_str_add(out, " HTTP/1.1\r\n");
    for (size_t i = 0; i < o->header_count; i++) {
        const char *name = o->names[i], *value = o->values[i];
        if (!http__is_token(name) || !http__is_value(value, strlen(value)))
            return rwf_fail(err, EINVAL, "not a header: '%s'", name);
        host |= !strcasecmp(name, "host");
        if (!is_ours(name))
            add_field(out, name, value);
    }
    if (!host)
        add_field(out, "Host", "localhost");
    if (o->size || (o->method[0] == 'P')) /* POST, PUT, PATCH */
        rwf_str_addf(out, "Content-Length: %zu\r\n", o->size);
    rwf_str_add(out, "\r\n");
    rwf_str_addn(out, o->body ? o->body : "", o->size);
    return 0;
}
