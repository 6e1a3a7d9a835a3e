/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "view/live.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "view/style.h"

#define FRAME_NS 100000000L

struct view_live {
    int fd;
    view_draw_fn draw;
    void *ctx;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool ended;
    struct rwf_str above;
    /* Of the drawing thread alone: the frame that is on the screen. */
    struct rwf_str shown;
};

/* Rows a frame takes now: a terminal that became narrower has wrapped its lines. */
static int rows_of(const char *frame, int width)
{
    int rows = 0;

    while (frame && *frame) {
        size_t len = strcspn(frame, "\n");
        char *line = rwf_xstrndup(frame, len);
        int columns = (int)view_columns(line);
        free(line);
        rows += columns > width ? (columns + width - 1) / width : 1;
        frame += len + (frame[len] == '\n');
    }
    return rows;
}

static void add_erase(struct rwf_str *out, int rows)
{
    if (rows > 0)
        rwf_str_addf(out, "\r\033[%dA\033[J", rows);
}

static void one_frame(struct view_live *live, bool last)
{
    int width = view_width(live->fd, 80), rows = view_height(live->fd, 24);
    struct rwf_str out = {0}, frame = {0};

    add_erase(&out, rows_of(live->shown.data, width));
    pthread_mutex_lock(&live->lock);
    if (live->above.len)
        rwf_str_addn(&out, live->above.data, live->above.len);
    rwf_str_clear(&live->above);
    if (!last)
        live->draw(live->ctx, &frame, rows, width);
    pthread_mutex_unlock(&live->lock);
    if (frame.len)
        rwf_str_addn(&out, frame.data, frame.len);
    if (out.len)
        rwf_fs_write_all(live->fd, out.data, out.len, NULL);
    rwf_str_free(&live->shown);
    live->shown = frame;
    rwf_str_free(&out);
}

static void *loop(void *arg)
{
    struct view_live *live = arg;
    bool ended = false;

    while (!ended) {
        struct timespec until;
        one_frame(live, false);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += FRAME_NS;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
        pthread_mutex_lock(&live->lock);
        while (!live->ended &&
               pthread_cond_timedwait(&live->wake, &live->lock, &until) != ETIMEDOUT)
            ;
        ended = live->ended;
        pthread_mutex_unlock(&live->lock);
    }
    one_frame(live, true);
    return NULL;
}

struct view_live *view_live_create(int fd, view_draw_fn draw, void *ctx)
{
    struct view_live *live = rwf_xcalloc(1, sizeof(*live));
    pthread_condattr_t attr;
    sigset_t all, before;

    live->fd = fd;
    live->draw = draw;
    live->ctx = ctx;
    pthread_mutex_init(&live->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&live->wake, &attr);
    pthread_condattr_destroy(&attr);
    /* Signals are for the thread that drives the run. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&live->thread, NULL, loop, live);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        pthread_cond_destroy(&live->wake);
        pthread_mutex_destroy(&live->lock);
        free(live);
        return NULL;
    }
    return live;
}

void view_live_destroy(struct view_live *live)
{
    if (!live)
        return;
    pthread_mutex_lock(&live->lock);
    live->ended = true;
    pthread_cond_signal(&live->wake);
    pthread_mutex_unlock(&live->lock);
    pthread_join(live->thread, NULL);
    pthread_cond_destroy(&live->wake);
    pthread_mutex_destroy(&live->lock);
    rwf_str_free(&live->above);
    rwf_str_free(&live->shown);
    free(live);
}

void view_live_lock(struct view_live *live)
{
    pthread_mutex_lock(&live->lock);
}

void view_live_unlock(struct view_live *live)
{
    pthread_mutex_unlock(&live->lock);
}

struct rwf_str *view_live_above(struct view_live *live)
{
    return &live->above;
}
