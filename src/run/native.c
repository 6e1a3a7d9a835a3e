/* SPDX-License-Identifier: Apache-2.0
 *
 * Native steps: a call instead of a process. What the function returns is JSON text and
 * becomes the output "result"; from there on the step ends like any other.
 */
#include "config.h"
#include "run/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "run/caller.h"
#include "run/layout.h"

/* --- what came of it --- */

/* Numbers in its member metrics are the step's metrics. */
static json_t *metrics_of(const json_t *result)
{
    const json_t *given = json_object_get(result, "metrics");
    json_t *out = json_object(), *value;
    const char *name;

    json_object_foreach((json_t *)(uintptr_t)given, name, value)
        if (json_is_number(value))
            json_object_set(out, name, value);
    return out;
}

static int take_value(struct engine__attempt *a, const struct caller_result *result,
                      struct rwf_err *err)
{
    bool none = result->size == 0; /* a function that returns nothing */
    const char *text = none ? "null" : result->value;
    size_t size = none ? 4 : result->size;
    json_error_t why;
    json_t *json = json_loadb(text, size, JSON_DECODE_ANY, &why);

    if (json == NULL)
        return rwf_fail(err, RWF_E_FAILED,
                        "what the function returned is no JSON: %s (byte %d of %zu)",
                        why.text, why.position, size);
    a->metrics = metrics_of(json);
    json_decref(json);
    if (json_object_size(a->metrics) > 0)
        run_log_append(
            a->engine->log, RUN_STEP_METRIC,
            json_pack("{s:s, s:O}", "step", a->step->address, "metrics", a->metrics));
    char *path = rwf_fs_join(a->dir, "result.json");
    int rc = rwf_fs_write(path, text, size, false, err);
    free(path);
    return rc;
}

static void set_message(struct proc_exit *end, const char *text)
{
    snprintf(end->message, sizeof(end->message), "%.*s", (int)sizeof(end->message) - 1,
             text);
}

static void done(void *ctx, const struct caller_result *result)
{
    struct engine__attempt *a = ctx;
    struct rwf_err err = RWF_ERR_INIT;
    struct proc_exit end = {.cause = result->cause, .exit_code = -1};

    a->call = NULL;
    end.usage.wall = rwf_clock_mono() - a->started;
    if (result->text != NULL)
        set_message(&end, result->text);
    if (result->cause == PLAN_CAUSE_NONE && take_value(a, result, &err) != 0) {
        end.cause = PLAN_CAUSE_OUTPUT;
        set_message(&end, err.text);
    }
    engine__finished(a, &end);
}

/* --- starting --- */

/* What stands for an actor: what it is made of, and nothing of this run. */
static int write_actor(struct engine__attempt *a, struct rwf_err *err)
{
    const char *key = a->engine->steps[a->step->index].ready->key;
    char *text =
        rwf_xasprintf("{\"actor\":\"%s\",\"key\":\"%s\"}\n", a->step->address, key);
    char *path = rwf_fs_join(a->dir, "actor.json");
    int rc = rwf_fs_write(path, text, strlen(text), false, err);

    free(path);
    free(text);
    return rc;
}

static int submit(struct engine *e, struct engine__attempt *a,
                  const struct op_call *call, struct rwf_err *err)
{
    const struct plan_policy *policy = a->step->policy;
    struct caller_spec spec = {.plugin = call->plugin,
                               .name = call->function,
                               .env = call->env,
                               .timeout = policy->timeout,
                               .policy = policy,
                               .actor = -1};

    if (engine__runtime_wanted(e, err) != 0)
        return -1;
    if (call->actor != NULL) {
        spec.name = call->method;
        if (engine__runtime_actor(e, call->actor, &spec.actor, err) != 0)
            return -1;
    }
    char *args = json_dumps(call->args, JSON_COMPACT | JSON_ENCODE_ANY);
    if (args == NULL)
        return rwf_fail(err, RWF_E_RECIPE, "%s: its args are no JSON",
                        a->step->address);
    spec.args = args;
    a->started = rwf_clock_mono();
    a->call = caller_submit(engine__runtime_caller(e), &spec, done, a);
    free(args);
    return 0;
}

int engine__call(struct engine *e, struct engine__attempt *a, struct rwf_err *err)
{
    struct op_call call = {0};
    json_t *env = json_object(); /* of marks: no process gets it */

    a->cwd = rwf_xstrdup(a->dir);
    engine__resolve_as(e, PLAN_RUN);
    json_t *spec = plan_step_spec(e->graph, a->step, err);
    int rc = spec == NULL ? -1 : a->step->op->call(spec, &call, err);
    if (rc == 0)
        rc = engine__write_step(e, a, spec, env, err);
    if (rc == 0)
        rc = call.declares ? write_actor(a, err) : submit(e, a, &call, err);
    json_decref(env);
    json_decref(spec);
    return rc;
}

void engine__called(struct engine__attempt *a)
{
    const struct proc_exit good = {.cause = PLAN_CAUSE_NONE};

    if (a->call == NULL) /* an actor: described, and that was all */
        engine__finished(a, &good);
}

/* --- ending --- */

static void on_grace(uv_timer_t *timer)
{
    engine__call_stop(timer->data, true);
}

void engine__call_stop(struct engine__attempt *a, bool now)
{
    if (a->call == NULL)
        return;
    caller_cancel(engine__runtime_caller(a->engine), a->call, now);
    if (now || a->grace != NULL)
        return;
    a->grace = rwf_xcalloc(1, sizeof(*a->grace));
    a->grace->data = a;
    uv_timer_init(&a->engine->loop, a->grace);
    uv_timer_start(a->grace, on_grace,
                   (uint64_t)(a->step->policy->grace / RWF_NS_PER_MS), 0);
}
