/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server costs: http_server MODE PORT, until killed. MODE is
 *   bare      libmicrohttpd alone, its own epoll thread, one fixed reply
 *   now       our server, the handler replies at once
 *   later     our server, the handler replies from a later turn of the loop
 *   log       as now, with an access log (in /tmp)
 * http.sh runs them beside nginx.
 */
#include "config.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "http/mhd.h"
#include "http/server.h"

static const char text[] = "hello, world\n";

/* --- libmicrohttpd alone --- */

static const struct http__mhd *mhd;

static enum MHD_Result bare_reply(void *ctx, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version,
                                  const char *data, size_t *size, void **own)
{
    static int mark;
    (void)ctx, (void)url, (void)method, (void)version, (void)data;
    if (!*own) {
        *own = &mark;
        return MHD_YES;
    }
    if (*size) {
        *size = 0;
        return MHD_YES;
    }
    struct MHD_Response *m = mhd->response_buffer(
        sizeof(text) - 1, (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    mhd->header(m, "Content-Type", "text/plain");
    enum MHD_Result rc = mhd->queue(c, 200, m);
    mhd->response_free(m);
    return rc;
}

static int bare(int port)
{
    mhd = http__mhd_open(NULL);
    if (!mhd || !mhd->start(MHD_USE_EPOLL_INTERNALLY, (uint16_t)port, NULL, NULL,
                            bare_reply, NULL, MHD_OPTION_END))
        return 1;
    for (;;)
        pause();
}

/* --- ours --- */

static struct http_request *waiting[4096];
static size_t waiting_count;
static bool later;

static void reply(struct http_request *r)
{
    http_reply(r, 200, "text/plain", text, sizeof(text) - 1);
}

static void wake(uv_async_t *async)
{
    (void)async;
    for (size_t i = 0; i < waiting_count; i++)
        reply(waiting[i]);
    waiting_count = 0;
}

static uv_async_t async;

static void request(void *ctx, struct http_request *r)
{
    (void)ctx;
    if (!later || waiting_count == sizeof(waiting) / sizeof(waiting[0])) {
        reply(r);
        return;
    }
    waiting[waiting_count++] = r;
    uv_async_send(&async);
}

static void gone(void *ctx, struct http_request *r)
{
    (void)ctx, (void)r;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    const char *mode = argv[1];
    int port = atoi(argv[2]);
    if (!strcmp(mode, "bare"))
        return bare(port);
    uv_loop_t *loop = uv_default_loop();
    struct rwf_err err = RWF_ERR_INIT;
    struct http_server_options o = {
        .port = port,
        .request = request,
        .gone = gone,
        .access_log = !strcmp(mode, "log") ? "/tmp/raywf-bench-access.log" : NULL,
    };
    later = !strcmp(mode, "later");
    uv_async_init(loop, &async, wake);
    if (!http_server_create(loop, &o, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
