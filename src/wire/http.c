/* SPDX-License-Identifier: Apache-2.0
 *
 * A download grows in PATH.part; PATH.part.tag holds what the server called this
 * version (its ETag or Last-Modified), so that a later try, also of a later process,
 * asks for the rest only of the very same content (Range with If-Range). A server that
 * answers with the whole starts the part anew. PATH appears by a rename, checked.
 *
 * Redirects are followed here and not by libcurl: a redirect may not leave http and
 * https, and to another host the caller's headers, which may hold secrets, do not go.
 */
#include "config.h"
#include "wire/http.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "wire/curl.h"

#define HTTP_REDIRECTS 10
#define HTTP_BACKOFF_NS (250 * RWF_NS_PER_MS)
#define HTTP_PROGRESS 32768 /* bytes */
#define HTTP_STALL_S 60L
#define HTTP_TAG_MAX 512
#define HTTP_BODY_KEPT 200 /* of an answer that is an error */

/* What one request is, and what came of it. */
struct exchange {
    CURL *curl;
    const char *url;            /* of this request: changes with a redirect */
    const char *const *headers; /* NULL once another host is asked */
    int64_t offset;             /* bytes there already: ask for the rest */
    const char *tag;            /* If-Range */
    const void *body;           /* POST */
    size_t body_len;
    const char *content_type;
    int64_t timeout_ns;
    int fd;                     /* where a good answer goes; -1: nowhere */
    const struct http_fetch *fetch; /* for progress; NULL for a POST */
    /* the answer */
    long status;
    int64_t got, total;         /* of the file: offset counts as got */
    char etag[HTTP_TAG_MAX], modified[HTTP_TAG_MAX];
    char *location;             /* of a redirect; owned */
    struct rwf_str text;        /* the start of an error's body */
    int write_errno;
};

static bool is_http(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

/* "https://host:port" of both are the same. */
static bool same_origin(const char *a, const char *b)
{
    size_t n = strcspn(a, ":"), m = strcspn(b, ":");
    n += a[n] != '\0' ? 3 : 0;
    m += b[m] != '\0' ? 3 : 0;
    n += strcspn(a + n, "/?#");
    m += strcspn(b + m, "/?#");
    return n == m && strncasecmp(a, b, n) == 0;
}

/* --- libcurl's callbacks --- */

static void keep_header(char *out, const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);
    if (len <= n || strncasecmp(line, name, n) != 0)
        return;
    line += n;
    len -= n;
    while (len > 0 && (*line == ' ' || *line == '\t'))
        line++, len--;
    while (len > 0 && strchr(" \t\r\n", line[len - 1]) != NULL)
        len--;
    if (len < HTTP_TAG_MAX) {
        memcpy(out, line, len);
        out[len] = '\0';
    }
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx)
{
    struct exchange *x = ctx;
    size_t len = size * count;
    if (len > 5 && strncasecmp(line, "HTTP/", 5) == 0) /* a new answer begins */
        x->etag[0] = x->modified[0] = '\0';
    keep_header(x->etag, line, len, "ETag:");
    keep_header(x->modified, line, len, "Last-Modified:");
    return len;
}

/* The first bytes of a good answer: decides where they belong. */
static int begin_body(struct exchange *x)
{
    curl_off_t rest = -1;
    wire_curl.easy_getinfo(x->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &rest);
    x->got = x->status == 206 ? x->offset : 0;
    x->total = rest < 0 ? -1 : x->got + rest;
    if (x->fd < 0)
        return 0;
    if (ftruncate(x->fd, x->got) < 0 || lseek(x->fd, x->got, SEEK_SET) < 0) {
        x->write_errno = errno;
        return -1;
    }
    return 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx)
{
    struct exchange *x = ctx;
    size_t len = size * count;
    struct rwf_err err = RWF_ERR_INIT;
    if (x->status == 0) {
        wire_curl.easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->status);
        if (x->status / 100 == 2 && begin_body(x) < 0)
            return 0;
    }
    if (x->status / 100 != 2 || x->fd < 0) {
        if (x->text.len < HTTP_BODY_KEPT)
            rwf_str_addn(&x->text, bytes, len < HTTP_BODY_KEPT ? len : HTTP_BODY_KEPT);
        return len;
    }
    if (rwf_fs_write_all(x->fd, bytes, len, &err) < 0) {
        x->write_errno = err.code;
        return 0;
    }
    x->got += (int64_t)len;
    if (x->fetch != NULL && x->fetch->progress != NULL)
        x->fetch->progress(x->fetch->ctx, x->got, x->total);
    return len;
}

/* --- one request --- */

static struct curl_slist *make_headers(const struct exchange *x)
{
    struct curl_slist *list = NULL;
    char line[HTTP_TAG_MAX + 64];
    for (const char *const *h = x->headers; h != NULL && *h != NULL; h++)
        list = wire_curl.slist_append(list, *h);
    if (x->content_type != NULL) {
        snprintf(line, sizeof(line), "Content-Type: %s", x->content_type);
        list = wire_curl.slist_append(list, line);
    }
    if (x->offset > 0) {
        snprintf(line, sizeof(line), "Range: bytes=%lld-", (long long)x->offset);
        list = wire_curl.slist_append(list, line);
    }
    if (x->offset > 0 && x->tag != NULL) {
        snprintf(line, sizeof(line), "If-Range: %s", x->tag);
        list = wire_curl.slist_append(list, line);
    }
    return list;
}

static void set_options(struct exchange *x, struct curl_slist *headers)
{
    CURL *c = x->curl;
    wire_curl.easy_setopt(c, CURLOPT_URL, x->url);
    wire_curl.easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    wire_curl.easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    wire_curl.easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    wire_curl_trust(c);
    wire_curl.easy_setopt(c, CURLOPT_USERAGENT, "raywf/" PACKAGE_VERSION);
    wire_curl.easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 20L);
    wire_curl.easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    wire_curl.easy_setopt(c, CURLOPT_LOW_SPEED_TIME, HTTP_STALL_S);
    wire_curl.easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    wire_curl.easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    wire_curl.easy_setopt(c, CURLOPT_HEADERDATA, x);
    wire_curl.easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    wire_curl.easy_setopt(c, CURLOPT_WRITEDATA, x);
    if (x->timeout_ns > 0)
        wire_curl.easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(x->timeout_ns / RWF_NS_PER_MS));
    if (x->body != NULL) {
        wire_curl.easy_setopt(c, CURLOPT_POST, 1L);
        wire_curl.easy_setopt(c, CURLOPT_POSTFIELDS, x->body);
        wire_curl.easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body_len);
    }
}

static CURLcode request_once(struct exchange *x, struct rwf_err *err)
{
    const char *to = NULL;
    x->curl = wire_curl.easy_init();
    if (x->curl == NULL)
        return CURLE_OUT_OF_MEMORY;
    struct curl_slist *headers = make_headers(x);
    set_options(x, headers);
    x->status = 0;
    x->got = x->offset;
    x->total = -1;
    rwf_str_clear(&x->text);
    CURLcode code = wire_curl.easy_perform(x->curl);
    wire_curl.easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->status);
    free(x->location);
    x->location = NULL;
    wire_curl.easy_getinfo(x->curl, CURLINFO_REDIRECT_URL, &to);
    if (code == CURLE_OK && x->status / 100 == 3 && to != NULL)
        x->location = rwf_xstrdup(to);
    /* an empty answer never came to on_body */
    if (code == CURLE_OK && x->status == 200 && x->total < 0 && x->got == x->offset &&
        begin_body(x) < 0)
        code = CURLE_WRITE_ERROR;
    if (code != CURLE_OK)
        rwf_fail(err, RWF_E_ENV, "%s", x->write_errno != 0 ? strerror(x->write_errno)
                                                         : wire_curl.easy_strerror(code));
    wire_curl.slist_free_all(headers);
    wire_curl.easy_cleanup(x->curl);
    x->curl = NULL;
    return code;
}

/* With redirects. CURLE_OK: there is a final answer in x->status. */
static CURLcode request(struct exchange *x, struct rwf_err *err)
{
    char *url = rwf_xstrdup(x->url);
    CURLcode code;
    int n = 0;
    x->url = url;
    while ((code = request_once(x, err)) == CURLE_OK && x->location != NULL) {
        if (!is_http(x->location)) {
            rwf_fail(err, RWF_E_INPUT,
                     "it redirects to %.200s: only http and https are "
                     "followed",
                     x->location);
            code = CURLE_UNSUPPORTED_PROTOCOL;
            break;
        }
        if (++n > HTTP_REDIRECTS) {
            rwf_fail(err, RWF_E_INPUT, "more than %d redirects", HTTP_REDIRECTS);
            code = CURLE_TOO_MANY_REDIRECTS;
            break;
        }
        if (!same_origin(url, x->location))
            x->headers = NULL;
        free(url);
        x->url = url = rwf_xstrdup(x->location);
    }
    free(url);
    x->url = NULL;
    free(x->location);
    x->location = NULL;
    return code;
}

static bool worth_retrying(const struct exchange *x, CURLcode code)
{
    if (code == CURLE_OK)
        return x->status == 408 || x->status == 429 || x->status / 100 == 5;
    return code != CURLE_UNSUPPORTED_PROTOCOL && code != CURLE_TOO_MANY_REDIRECTS &&
           code != CURLE_URL_MALFORMAT && code != CURLE_WRITE_ERROR &&
           code != CURLE_PEER_FAILED_VERIFICATION;
}

static void back_off(int try)
{
    int64_t ns = HTTP_BACKOFF_NS << (try - 1);
    struct timespec t = { .tv_sec = ns / RWF_NS_PER_S, .tv_nsec = ns % RWF_NS_PER_S };
    nanosleep(&t, NULL);
}

static int answer_failed(const struct exchange *x, struct rwf_err *err)
{
    char text[HTTP_BODY_KEPT + 1] = "";
    size_t n = 0;
    for (size_t i = 0; i < x->text.len && n < HTTP_BODY_KEPT; i++)
        if (x->text.data[i] >= ' ')
            text[n++] = x->text.data[i];
    text[n] = '\0';
    int code = x->status / 100 == 4 && x->status != 429 ? RWF_E_INPUT : RWF_E_ENV;
    if (x->status == 401 || x->status == 403)
        return rwf_fail(err, code,
                        "the server answered %ld: it wants other headers%s%s",
                        x->status, n > 0 ? ": " : "", text);
    return rwf_fail(err, code, "the server answered %ld%s%s", x->status,
                    n > 0 ? ": " : "", text);
}

/* --- a download --- */

struct download {
    const struct http_fetch *f;
    char *part, *tag_path;
    char tag[HTTP_TAG_MAX];
    int fd;
};

static int64_t part_size(const struct download *d)
{
    struct stat st;
    return fstat(d->fd, &st) == 0 ? (int64_t)st.st_size : 0;
}

static void load_tag(struct download *d)
{
    size_t len;
    char *text = rwf_fs_read(d->tag_path, HTTP_TAG_MAX - 1, &len, NULL);
    d->tag[0] = '\0';
    if (text != NULL && strlen(text) == len && strpbrk(text, "\r\n") == NULL)
        memcpy(d->tag, text, len + 1);
    free(text);
}

/* A weak ETag cannot vouch for bytes. */
static void keep_tag(struct download *d, const struct exchange *x)
{
    const char *tag = x->etag[0] != '\0' && strncmp(x->etag, "W/", 2) != 0
                          ? x->etag : x->modified;
    if (x->status / 100 != 2 || strcmp(tag, d->tag) == 0)
        return;
    snprintf(d->tag, sizeof(d->tag), "%s", tag);
    if (tag[0] == '\0' || rwf_fs_write(d->tag_path, tag, strlen(tag), false, NULL) < 0)
        unlink(d->tag_path);
}

/* 0 whole, 1 try again, -1 for good. */
static int try_download(struct download *d, struct rwf_err *err)
{
    struct exchange x = { .url = d->f->url, .headers = d->f->headers, .fd = d->fd,
                          .fetch = d->f, .tag = d->tag };
    /* without a tag only the checksum can tell that the halves fit */
    x.offset = d->tag[0] != '\0' || d->f->sha256 != NULL ? part_size(d) : 0;
    if (d->tag[0] == '\0')
        x.tag = NULL;
    CURLcode code = request(&x, err);
    keep_tag(d, &x);
    int r = 0;
    if (code == CURLE_OK && x.status == 416 && x.offset > 0) {
        /* nothing behind what is there: whole, or of another file */
        r = d->f->sha256 != NULL ? 0 : 1;
        if (r == 1 && ftruncate(d->fd, 0) < 0)
            r = -1;
    } else if (code == CURLE_OK && x.status / 100 != 2) {
        answer_failed(&x, err);
        r = worth_retrying(&x, code) ? 1 : -1;
    } else if (code != CURLE_OK) {
        r = worth_retrying(&x, code) ? 1 : -1;
    }
    rwf_str_free(&x.text);
    return r;
}

static int check_digest(struct download *d, struct rwf_err *err)
{
    char digest[RWF_DIGEST_LEN];
    if (d->f->sha256 == NULL)
        return 0;
    if (rwf_digest_file(d->part, digest, NULL, err) < 0)
        return -1;
    if (strcasecmp(digest, d->f->sha256) == 0)
        return 0;
    unlink(d->part);
    unlink(d->tag_path);
    return rwf_fail(err, RWF_E_INPUT,
                    "its SHA-256 is %s, but %s is expected: the file changed, or the "
                    "download was altered", digest, d->f->sha256);
}

static int run_download(struct download *d, struct rwf_err *err)
{
    int tries = d->f->tries > 0 ? d->f->tries : 3;
    int64_t most = part_size(d);
    bool resumed = most > 0;
    for (int try = 1;; try++) {
        int r = try_download(d, err);
        if (r == 0 && check_digest(d, err) == 0)
            return rename(d->part, d->f->path) == 0
                       ? 0
                       : rwf_fail(err, errno, "%s: %s", d->f->path, strerror(errno));
        /* a line that fails again and again, but brings something each time, is good enough */
        bool moved = r > 0 && part_size(d) - most >= HTTP_PROGRESS;
        if (r < 0 || (try >= tries && !moved))
            return -1;
        if (moved) {
            try = 1;
            most = part_size(d);
        }
        if (r == 0) {
            /* halves that do not fit are the only reason to fetch it all again */
            if (!resumed)
                return -1;
            resumed = false;
            close(d->fd);
            d->fd = open(d->part, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
            d->tag[0] = '\0';
            if (d->fd < 0)
                return rwf_fail(err, errno, "%s: %s", d->part, strerror(errno));
        }
        back_off(try);
    }
}

int http_fetch(const struct http_fetch *f, struct rwf_err *err)
{
    struct download d = { .f = f };
    if (!is_http(f->url))
        return rwf_fail(err, RWF_E_INPUT,
                        "%.200s: only http:// and https:// are fetched", f->url);
    if (wire_curl_open(err) < 0)
        return -1;
    d.part = rwf_xasprintf("%s.part", f->path);
    d.tag_path = rwf_xasprintf("%s.part.tag", f->path);
    d.fd = open(d.part, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    int r = d.fd < 0 ? rwf_fail(err, errno, "%s: %s", d.part, strerror(errno)) : 0;
    if (r == 0) {
        load_tag(&d);
        r = run_download(&d, err);
        if (r < 0 && d.fd >= 0 && part_size(&d) == 0)
            unlink(d.part);
        if (d.fd >= 0)
            close(d.fd);
        if (r == 0)
            unlink(d.tag_path);
        else
            rwf_wrap(err, "%.300s", f->url);
    }
    free(d.part);
    free(d.tag_path);
    return r;
}

int http_post(const char *url, const char *content_type, const void *body, size_t len,
              const char *const *headers, int64_t timeout_ns, struct rwf_err *err)
{
    if (!is_http(url))
        return rwf_fail(err, RWF_E_INPUT, "only http:// and https:// can be posted to");
    if (wire_curl_open(err) < 0)
        return -1;
    for (int try = 1;; try++) {
        struct exchange x = { .url = url, .headers = headers, .fd = -1, .body = body,
                              .body_len = len, .content_type = content_type,
                              .timeout_ns = timeout_ns };
        CURLcode code = request(&x, err);
        bool again = worth_retrying(&x, code) && try < 3;
        bool ok = code == CURLE_OK && x.status / 100 == 2;
        if (code == CURLE_OK && !ok)
            answer_failed(&x, err);
        rwf_str_free(&x.text);
        if (ok)
            return 0;
        if (!again)
            return -1;
        back_off(try);
    }
}

/* --- what callers of http_fetch need --- */

char *http_fetch_folder(const char *dir)
{
    char *at = rwf_fs_absolute(dir);
    for (int i = 0; i < 3; i++) {
        char *up = rwf_fs_dirname(at);
        free(at);
        at = up;
    }
    char *root = rwf_fs_dirname(at);
    bool known = strcmp(rwf_fs_basename(at), "runs") == 0;
    char *result = known ? rwf_fs_join(root, "cache/downloads")
                         : rwf_fs_join(dir, "downloads");
    free(at);
    free(root);
    return result;
}

char **http_fetch_headers(const json_t *headers)
{
    char **list = rwf_xcalloc(json_object_size(headers) + 1, sizeof(*list));
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach((json_t *)(uintptr_t)headers, name, value)
        if (json_is_string(value))
            list[n++] = rwf_xasprintf("%s: %s", name, json_string_value(value));
    return list;
}

void http_fetch_headers_free(char **list)
{
    for (char **h = list; *h != NULL; h++)
        free(*h);
    free(list);
}
