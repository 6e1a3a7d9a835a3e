/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP out, through libcurl (opened at run time). http and https only; redirects are
 * followed within these, at most 10.
 */
#ifndef RWF_WIRE_HTTP_H
#define RWF_WIRE_HTTP_H
#include <jansson.h>
#include <stdint.h>
#include "base/err.h"

struct http_fetch {
    const char *url;
    const char *path;            /* where the file shall be */
    const char *sha256;          /* expected, or NULL */
    const char *const *headers;  /* "Name: value", NULL-terminated, or NULL */
    int tries;                   /* 0: 3; one that brought much more does not count */
    void (*progress)(void *ctx, int64_t got, int64_t total); /* total -1: unknown */
    void *ctx;
};

/* Downloads to path.part and renames; an existing path.part is continued with a Range
 * request (If-Range guards it). Errors: RWF_E_INPUT (404, checksum differs: says both),
 * RWF_E_ENV (no network, no libcurl). */
int http_fetch(const struct http_fetch *f, struct rwf_err *err);
/* Where downloads of a step grow: ROOT/cache/downloads when dir is an attempt's folder,
 * ROOT/runs/ID/steps/NAME, else dir/downloads. The caller frees. */
char *http_fetch_folder(const char *dir);
/* {name: text} as a list for `headers` and its end. */
char **http_fetch_headers(const json_t *headers);
void http_fetch_headers_free(char **list);

/* POSTs body; 2xx is success. Tries up to 3 times with back-off on network errors and
 * 5xx. header lines as above. */
int http_post(const char *url, const char *content_type, const void *body, size_t len,
              const char *const *headers, int64_t timeout_ns, struct rwf_err *err);

#endif
