/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/opened.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "run/engine.h"
#include "run/layout.h"

#define MAX_PLAN (512 << 20)

static json_t *read_plan(const char *dir, struct rwf_err *err)
{
    char *path = rwf_fs_join(dir, "plan.json");
    json_error_t where;
    size_t len;
    char *text = rwf_fs_read(path, MAX_PLAN, &len, err);
    json_t *plan = text ? json_loadb(text, len, 0, &where) : NULL;

    if (text && !plan)
        rwf_fail(err, RWF_E_INPUT, "%s: damaged: line %d: %s", path, where.line,
                 where.text);
    free(text);
    free(path);
    return plan;
}

int cmd_open_run(struct cmd_call *call, const char *name, bool graph,
                 struct cmd_opened *o, struct rwf_err *err)
{
    memset(o, 0, sizeof(*o));
    o->root = run_root_find(".", err);
    if (!o->root)
        return -1;
    o->id = run_resolve(o->root, name, err);
    if (!o->id)
        return -1;
    o->dir = run_dir(o->root, o->id);
    o->log = rwf_fs_join(o->dir, "events.ndjson");
    if (cmd_reload_run(o, err) < 0)
        return -1;
    if (!graph)
        return 0;
    o->plan = read_plan(o->dir, err);
    return o->plan ? cmd_compile_plan(call, o->plan, &o->c, err) : -1;
}

int cmd_reload_run(struct cmd_opened *o, struct rwf_err *err)
{
    struct run_state *state = run_state_load(o->log, err);

    if (!state)
        return -1;
    run_state_destroy(o->state);
    o->state = state;
    o->pid = strcmp(state->status, "running") == 0 ? engine_active(o->root, o->id) : 0;
    return 0;
}

void cmd_opened_free(struct cmd_opened *o)
{
    cmd_compiled_free(&o->c);
    run_state_destroy(o->state);
    json_decref(o->plan);
    free(o->log);
    free(o->dir);
    free(o->id);
    free(o->root);
}

struct view_run cmd_opened_view(const struct cmd_opened *o)
{
    return (struct view_run){.root = o->root,
                             .dir = o->dir,
                             .state = o->state,
                             .graph = o->c.graph,
                             .plan = o->plan};
}

const char *cmd_run_status(const struct cmd_opened *o)
{
    if (strcmp(o->state->status, "running") == 0 && o->pid == 0)
        return "interrupted";
    return o->state->status;
}

static bool is_address(const char *text)
{
    static const char *const sections[] = {"tasks.", "datasets.", "checks."};

    for (size_t i = 0; i < RWF_COUNT(sections); i++)
        if (strncmp(text, sections[i], strlen(sections[i])) == 0)
            return true;
    return false;
}

void cmd_run_and_step(const struct cmd_call *call, const char **ret_run,
                      const char **ret_step)
{
    bool lone_step = call->operand_count == 1 && is_address(call->operands[0]);

    *ret_run = lone_step ? "last" : cmd_operand(call, 0, "last");
    *ret_step = lone_step ? call->operands[0] : cmd_operand(call, 1, NULL);
}

/* The only step of an entry, or one whose name without its section is meant. */
static uint32_t find_loosely(const struct plan_graph *g, const char *name)
{
    uint32_t found = PLAN_NO_STEP;

    for (size_t i = 0; i < plan_graph_count(g); i++) {
        const struct plan_step *step = plan_graph_step(g, (uint32_t)i);
        const char *dot = strchr(step->address, '.');
        bool same =
            strcmp(step->entry, name) == 0 || (dot && strcmp(dot + 1, name) == 0);
        if (same && found != PLAN_NO_STEP)
            return PLAN_NO_STEP;
        if (same)
            found = (uint32_t)i;
    }
    return found;
}

const struct plan_step *cmd_find_step(const struct cmd_opened *o, const char *name,
                                      struct rwf_err *err)
{
    const struct plan_graph *g = o->c.graph;
    uint32_t at = plan_graph_find(g, name);

    if (at == PLAN_NO_STEP)
        at = find_loosely(g, name);
    if (at != PLAN_NO_STEP)
        return plan_graph_step(g, at);
    const char *near = plan_graph_suggest(g, name);
    rwf_fail(err, RWF_E_NORUN, "run %s has no step \"%s\"%s%s%s", o->id, name,
             near ? ", did you mean " : "; raywf status lists them", near ? near : "",
             near ? "?" : "");
    return NULL;
}

static json_t *time_json(int64_t wall)
{
    char text[RWF_TIME_LEN];

    if (wall <= 0)
        return json_null();
    rwf_clock_format(wall, text);
    return json_string(text);
}

json_t *cmd_run_json(const struct cmd_opened *o)
{
    const struct run_state *s = o->state;
    json_t *counts = json_object();
    int64_t end = s->ended > 0 ? s->ended : rwf_clock_wall();

    for (int i = 0; i < STEP_STATE_COUNT; i++)
        if (s->counts[i])
            json_object_set_new(counts, schedule_state_name(i),
                                json_integer((json_int_t)s->counts[i]));
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:f, s:o, s:i, s:o, s:s?, s:o}",
                     "run", o->id, "name", s->name ? s->name : "", "recipe",
                     s->recipe ? s->recipe : "", "status", cmd_run_status(o), "started",
                     time_json(s->started), "ended", time_json(s->ended), "duration",
                     (double)(end - s->started) / (double)RWF_NS_PER_S, "exit_code",
                     s->exit_code < 0 ? json_null() : json_integer(s->exit_code),
                     "steps", (int)s->total, "counts", counts, "message", s->message,
                     "dir", cmd_string(o->dir));
}
