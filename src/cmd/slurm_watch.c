/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/slurm_watch.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define LOOK_MS 5000
#define SAID_MAX 65536
/* Slurm lets what runs go on; so do we. */
#define TIMEOUT (30 * 24 * 3600 * RWF_NS_PER_S)

struct cmd_slurm_watch {
    struct node *node; /* NULL: closed */
    char *name;        /* of the machine, for Slurm */
    uv_timer_t timer;
    uv_process_t process;
    uv_pipe_t pipe;
    struct rwf_str said;
    bool running, drained;
    int open; /* handles that libuv still knows */
};

bool cmd_slurm_is_drained(const char *text)
{
    static const char *const words[] = {"DRAIN", "DOWN", "FAIL"};
    const char *state = strstr(text, "State=");
    size_t len = state ? strcspn(state, " \n") : 0;
    for (size_t i = 0; i < RWF_COUNT(words); i++)
        if (state && memmem(state, len, words[i], strlen(words[i])))
            return true;
    return false;
}

static void release(struct cmd_slurm_watch *w)
{
    if (--w->open > 0)
        return;
    rwf_str_free(&w->said);
    free(w->name);
    free(w);
}

static void on_closed(uv_handle_t *h)
{
    release(h->data);
}

static void decide(struct cmd_slurm_watch *w)
{
    bool drained = cmd_slurm_is_drained(w->said.data ? w->said.data : "");
    if (!w->node || !w->said.len || drained == w->drained)
        return;
    w->drained = drained;
    rwf_log(RWF_LOG_INFO, "slurm", "%s is %s by Slurm", w->name,
            drained ? "drained" : "resumed");
    node_set_draining(w->node, drained, TIMEOUT);
}

static void on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    (void)h;
    *buf = uv_buf_init(rwf_xmalloc(size), (unsigned)size);
}

/* The end of what it prints is the end of it. */
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct cmd_slurm_watch *w = stream->data;
    if (n > 0 && w->said.len < SAID_MAX)
        rwf_str_addn(&w->said, buf->base, (size_t)n);
    free(buf->base);
    if (n >= 0)
        return;
    decide(w);
    w->running = false;
    uv_close((uv_handle_t *)stream, on_closed);
}

static void on_ended(uv_process_t *p, int64_t status, int signal)
{
    (void)status;
    (void)signal;
    uv_close((uv_handle_t *)p, on_closed);
}

static void look(uv_timer_t *t)
{
    struct cmd_slurm_watch *w = t->data;
    char *args[] = {(char *)"scontrol", (char *)"show", (char *)"node",
                    (char *)"-o",       w->name,        NULL};
    uv_stdio_container_t io[] = {{.flags = UV_IGNORE},
                                 {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
                                  .data.stream = (uv_stream_t *)&w->pipe},
                                 {.flags = UV_IGNORE}};
    uv_process_options_t o = {.exit_cb = on_ended,
                              .file = args[0],
                              .args = args,
                              .stdio = io,
                              .stdio_count = (int)RWF_COUNT(io)};
    if (w->running)
        return; /* Slurm's controller is slow, or away */
    rwf_str_clear(&w->said);
    uv_pipe_init(t->loop, &w->pipe, 0);
    w->pipe.data = w->process.data = w;
    w->open += 2;
    if (uv_spawn(t->loop, &w->process, &o) ||
        uv_read_start((uv_stream_t *)&w->pipe, on_alloc, on_read)) {
        uv_timer_stop(t); /* there is no scontrol here */
        uv_close((uv_handle_t *)&w->pipe, on_closed);
        uv_close((uv_handle_t *)&w->process, on_closed);
        return;
    }
    w->running = true;
    uv_unref((uv_handle_t *)&w->process);
    uv_unref((uv_handle_t *)&w->pipe);
}

struct cmd_slurm_watch *cmd_slurm_watch_create(uv_loop_t *loop, struct node *n)
{
    const char *job = getenv("SLURM_JOB_ID"), *name = getenv("SLURMD_NODENAME");
    if (!job || !*job || !name || !*name)
        return NULL;
    struct cmd_slurm_watch *w = rwf_xcalloc(1, sizeof(*w));
    w->node = n;
    w->name = rwf_xstrdup(name);
    uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    w->open = 1;
    uv_timer_start(&w->timer, look, LOOK_MS, LOOK_MS);
    uv_unref((uv_handle_t *)&w->timer);
    return w;
}

void cmd_slurm_watch_close(struct cmd_slurm_watch *w)
{
    if (!w)
        return;
    w->node = NULL;
    if (w->running)
        uv_process_kill(&w->process, SIGKILL);
    uv_close((uv_handle_t *)&w->timer, on_closed);
}
