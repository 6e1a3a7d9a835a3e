/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/later.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

struct later {
    uv_work_t uv;
    void (*work)(void *ctx);
    void (*done)(void *ctx);
    void *ctx;
};

static void on_work(uv_work_t *uv)
{
    const struct later *l = uv->data;
    l->work(l->ctx);
}

static void on_done(uv_work_t *uv, int status)
{
    struct later *l = uv->data;
    (void)status;
    if (l->done)
        l->done(l->ctx);
    free(l);
}

void job__later_do(uv_loop_t *loop, void (*work)(void *), void (*done)(void *),
                   void *ctx)
{
    struct later *l = rwf_xcalloc(1, sizeof(*l));
    l->uv.data = l;
    l->work = work;
    l->done = done;
    l->ctx = ctx;
    int rc = uv_queue_work(loop, &l->uv, on_work, on_done);
    rwf_assert(rc == 0); /* it only fails without a function */
}

static void remove_tree(void *ctx)
{
    char *path = ctx;
    struct rwf_err err = RWF_ERR_INIT;
    if (rwf_fs_rmtree(path, &err))
        rwf_log(RWF_LOG_WARN, "job", "%s", err.text);
    free(path);
}

void job__later_remove(uv_loop_t *loop, const char *path)
{
    static atomic_uint number;
    char *gone = rwf_xasprintf("%s.gone.%d.%u", path, (int)getpid(), ++number);
    if (rename(path, gone) == 0) {
        job__later_do(loop, remove_tree, NULL, gone);
        return;
    }
    if (errno != ENOENT)
        rwf_log(RWF_LOG_WARN, "job", "cannot remove %s: %s", path, strerror(errno));
    free(gone);
}
