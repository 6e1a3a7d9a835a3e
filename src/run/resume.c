/* SPDX-License-Identifier: Apache-2.0
 *
 * Going on with a run: the log says what is finished; what ran when the head died is
 * lost and runs again, as does what was finished but whose outputs are gone.
 */
#include "config.h"
#include "run/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/layout.h"

static bool outputs_there(const json_t *outputs)
{
    const char *name;
    json_t *one;
    json_object_foreach((json_t *)(uintptr_t)outputs, name, one) {
        const char *path = json_string_value(json_object_get(one, "path"));
        if (path == NULL || !rwf_fs_exists(path))
            return false;
    }
    return true;
}

/* Where the log left a step, after what a resume does to it. */
static enum schedule_state state_after(const struct plan_step *step,
                                       const struct run_step_state *s,
                                       bool retry_failed, bool *ret_lost)
{
    *ret_lost = false;
    if (!schedule_state_final(s->state) || s->state == STEP_STOPPED)
        return STEP_PENDING;
    if (schedule_state_good(s->state)) {
        /* What served has ended with its head: it is deployed again. */
        *ret_lost = step->op->service || !outputs_there(s->outputs);
        return *ret_lost ? STEP_PENDING : s->state;
    }
    return retry_failed ? STEP_PENDING : s->state;
}

/* Puts every step of the graph where the log left it. Returns how many are to be run;
 * those whose outputs are gone are added to lost. */
static size_t restore(struct engine *e, const struct run_state *state,
                      bool retry_failed, json_t *lost)
{
    size_t pending = 0, count = plan_graph_count(e->graph);
    for (uint32_t i = 0; i < count; i++) {
        const char *address = engine__step_at(e, i)->address;
        const struct run_step_state *s = run_state_step(state, address);
        bool gone;
        if (s == NULL) {
            pending++;
            continue;
        }
        enum schedule_state to =
            state_after(engine__step_at(e, i), s, retry_failed, &gone);
        if (gone)
            json_array_append_new(lost, json_string(address));
        bool anew = to == STEP_PENDING && schedule_state_final(s->state);
        if (anew && !gone)
            engine__trial_again(e, i);
        schedule_restore(e->schedule, i, to, s->attempt, anew ? 0 : s->failures);
        pending += to == STEP_PENDING &&
                   !(engine__step_at(e, i)->op->service && schedule_state_good(s->state));
        if (schedule_state_good(to))
            engine__results_set(e, i, json_incref((json_t *)(uintptr_t)s->outputs),
                                json_incref((json_t *)(uintptr_t)s->metrics));
        else if (to == STEP_FAILED && e->steps[i].trial == NULL)
            engine__blame(e, engine__exit_of(plan_cause_parse(
                                 s->cause == NULL ? "exit" : s->cause)));
    }
    return pending;
}

static int go_on(struct engine *e, const struct run_state *state, bool retry_failed,
                 struct rwf_err *err)
{
    json_t *lost = json_array();
    size_t pending = restore(e, state, retry_failed, lost);
    if (pending == 0 && state->exit_code >= 0) {
        json_decref(lost);
        return state->exit_code;
    }
    json_t *event = json_pack("{s:i, s:b, s:o}", "pid", (int)getpid(), "failed",
                              retry_failed, "lost", lost);
    engine__add_asked(e, event);
    run_log_append(e->log, RUN_RUN_RESUMED, event);
    int left = proc_sweep(e->id);
    if (left > 0)
        rwf_log(RWF_LOG_INFO, "run", "ended %d processes that an earlier head left",
                left);
    return engine__drive(e, err);
}

int engine_resume(struct plan_graph *g, const struct engine_options *options,
                  const char *id, bool retry_failed, struct rwf_err *err)
{
    struct engine *e = engine__create(g, options, err);
    if (e == NULL)
        return -1;
    if (strlen(id) >= sizeof(e->id)) {
        engine__destroy(e);
        return rwf_fail(err, RWF_E_NORUN, "'%s' is no run id", id);
    }
    strcpy(e->id, id);
    e->dir = run_dir(e->root, id);
    char *path = run_log_path(e->root, id);
    struct run_state *state = NULL;
    int result = -1;
    if (!rwf_fs_exists(path))
        rwf_fail(err, RWF_E_NORUN, "no run '%s' ('raywf ps' lists them)", id);
    else if (engine__open_log(e, err) == 0 &&
             (state = run_state_load(path, err)) != NULL &&
             engine__searches_replay(e, path, err) == 0) {
        e->stay = state->stay;
        result = state->exit_code == 0 ? 0 : go_on(e, state, retry_failed, err);
    }
    run_state_destroy(state);
    free(path);
    engine__destroy(e);
    return result;
}
