/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts come from events and are not escaped here: whoever prints them does that.
 */
#include "config.h"

#include "view/serve.h"

#include <string.h>

static const char *text_of(const json_t *event, const char *key)
{
    const char *text = json_string_value(json_object_get(event, key));

    return text ? text : "";
}

static long long count_of(const json_t *event, const char *key)
{
    return (long long)json_integer_value(json_object_get(event, key));
}

/* "serve.api.main" */
static void add_name(struct rwf_str *out, const json_t *event)
{
    const char *deployment = text_of(event, "deployment");

    rwf_str_addf(out, "serve.%s%s%s", text_of(event, "app"), *deployment ? "." : "",
                 deployment);
}

static void add_reason(struct rwf_str *out, const json_t *event)
{
    const char *reason = text_of(event, "reason");

    if (*reason)
        rwf_str_addf(out, ": %s", reason);
}

static bool on_up(const json_t *e, enum schedule_state *looks, struct rwf_str *out)
{
    long long restarts = count_of(e, "restarts");

    *looks = STEP_SUCCEEDED;
    rwf_str_add(out, "the server is up again");
    return restarts > 0;
}

static bool on_ready(const json_t *e, enum schedule_state *looks, struct rwf_str *out)
{
    (void)e;
    *looks = STEP_RUNNING;
    rwf_str_add(out, "serving; Ctrl-C or raywf serve down ends it");
    return true;
}

static bool on_app(const json_t *e, enum schedule_state *looks, struct rwf_str *out)
{
    bool failed = strcmp(text_of(e, "state"), "failed") == 0;

    *looks = failed ? STEP_FAILED : STEP_RUNNING;
    add_name(out, e);
    rwf_str_addf(out, "  %s%s", failed ? "" : "is ", text_of(e, "state"));
    if (!failed && *text_of(e, "url"))
        rwf_str_addf(out, " at %s", text_of(e, "url"));
    if (strcmp(text_of(e, "state"), "up") == 0 && *text_of(e, "reason"))
        rwf_str_add(out, ", not all of it yet");
    add_reason(out, e);
    return true;
}

static bool on_scaled(const json_t *e, enum schedule_state *looks, struct rwf_str *out)
{
    *looks = STEP_RUNNING;
    add_name(out, e);
    rwf_str_addf(out, "  %lld -> %lld replicas", count_of(e, "from"),
                 count_of(e, "to"));
    add_reason(out, e);
    return true;
}

static bool on_replica(const json_t *e, enum schedule_state *looks, struct rwf_str *out)
{
    *looks = STEP_FAILED;
    add_name(out, e);
    rwf_str_addf(out, "  replica %s died", text_of(e, "replica"));
    add_reason(out, e);
    return true;
}

static bool on_waits(const json_t *e, enum schedule_state *looks, struct rwf_str *out)
{
    *looks = STEP_FAILED;
    add_name(out, e);
    rwf_str_add(out, "  does not answer, and is asked again");
    add_reason(out, e);
    return true;
}

static bool on_update(const json_t *e, enum schedule_state *looks, struct rwf_str *out)
{
    const char *state = text_of(e, "state");
    double weight = json_number_value(json_object_get(e, "weight"));
    bool back = strcmp(state, "rolled_back") == 0;

    *looks = back ? STEP_FAILED : STEP_RUNNING;
    add_name(out, e);
    rwf_str_addf(out, "  update %s", back ? "rolled back" : state);
    if (strcmp(state, "moved") == 0)
        rwf_str_addf(out, ": %g %% of the requests go to the new version",
                     100 * weight);
    add_reason(out, e);
    return true;
}

static bool on_down(const json_t *e, enum schedule_state *looks, struct rwf_str *out)
{
    double delay = json_number_value(json_object_get(e, "delay"));

    *looks = delay > 0 ? STEP_FAILED : STEP_STOPPED;
    if (delay > 0)
        rwf_str_addf(out, "the server died: %s; it is started again in %.3gs",
                     text_of(e, "message"), delay);
    else
        rwf_str_add(out, "the server has ended");
    return true;
}

bool view_serve_words(enum run_event type, const json_t *event,
                      enum schedule_state *ret_looks, struct rwf_str *out)
{
    switch (type) {
    case RUN_SERVE_UP:
        return on_up(event, ret_looks, out);
    case RUN_SERVE_READY:
        return on_ready(event, ret_looks, out);
    case RUN_SERVE_APP:
        return on_app(event, ret_looks, out);
    case RUN_SERVE_SCALED:
        return on_scaled(event, ret_looks, out);
    case RUN_SERVE_REPLICA_DIED:
        return on_replica(event, ret_looks, out);
    case RUN_SERVE_REPLICA_WAITS:
        return on_waits(event, ret_looks, out);
    case RUN_SERVE_UPDATE:
        return on_update(event, ret_looks, out);
    case RUN_SERVE_DOWN:
        return on_down(event, ret_looks, out);
    default:
        return false;
    }
}
