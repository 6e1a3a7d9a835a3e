/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "step_rig.h"
#include <signal.h>
#include <stdlib.h>
#include "base/fs.h"

static void on_started(void *ctx, int pid)
{
    struct run *r = ctx;
    ck_assert_int_eq(r->pid, 0);
    r->pid = pid;
}

static void on_output(void *ctx, int stream, const void *data, size_t size)
{
    struct run *r = ctx;
    r->bytes += size;
    if (!r->count_only)
        rwf_str_addn(stream == 1 ? &r->out : &r->err, data, size);
}

static void on_report(void *ctx, const json_t *line)
{
    struct run *r = ctx;
    r->reports++;
    free(r->last_report);
    r->last_report = json_dumps(line, JSON_COMPACT);
}

static void on_exited(void *ctx, const struct proc_exit *result)
{
    struct run *r = ctx;
    r->exits++;
    r->exit = *result;
    rwf_str_add(&r->tail, result->tail ? result->tail : "");
    r->exit.tail = NULL;
    r->step = NULL;
}

void run_free(struct run *r)
{
    rwf_str_free(&r->out);
    rwf_str_free(&r->err);
    rwf_str_free(&r->tail);
    free(r->last_report);
    *r = (struct run){0};
}

const struct far_step_handler run_handler = {NULL, on_started, on_output, on_report,
                                             on_exited};

static int number;

void run_argv(struct run *r, size_t from, const char *where, json_t *argv,
              const struct how *how)
{
    struct far_step_handler h = run_handler;
    struct rwf_err err = RWF_ERR_INIT;
    const char *dir = how && how->dir ? how->dir : rig_path("there%d", ++number);
    const char *local = how && how->local ? how->local : rig_path("here%d", ++number);
    struct proc_spec spec = {.argv = argv,
                             .env = how ? how->env : NULL,
                             .cwd = how && how->cwd ? how->cwd : rig.dir,
                             .dir = dir,
                             .run_id = "run1",
                             .address = "a/b",
                             .grace = how && how->grace ? how->grace : RWF_NS_PER_S,
                             .log_limit =
                                 how && how->log_limit ? how->log_limit : 1 << 20,
                             .gpu_count = -1};
    struct far_step_options o = {.shared = how && how->shared, .local_dir = local};
    rwf_fs_mkdirs(local, NULL);
    h.ctx = r;
    r->step = far_step_start(rig.nodes[from], where, &spec, &o, &h, &err);
    ck_assert_msg(r->step != NULL, "%s", err.text);
    ck_assert_int_eq(r->exits, 0);
    json_decref(argv);
    if (how)
        json_decref(how->env);
}

void run_start(struct run *r, const char *where, const char *script,
               const struct how *how)
{
    run_argv(r, 0, where, json_pack("[s, s, s]", "/bin/sh", "-c", script), how);
}

const char *text_of(const struct rwf_str *s)
{
    return s->data ? s->data : "";
}

bool is_alive(int pid)
{
    return kill(pid, 0) == 0;
}
