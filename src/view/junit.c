/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "view/junit.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/redact.h"

#define OUTPUT_MAX (16 << 10) /* of each stream of a failed step */

static double seconds(int64_t ns)
{
    return (double)ns / (double)RWF_NS_PER_S;
}

static void attribute(struct rwf_str *out, const char *name, const char *value)
{
    struct rwf_str clean = {0};

    rwf_redact(&clean, value, strlen(value));
    rwf_str_addf(out, " %s=\"", name);
    rwf_str_add_xml(out, clean.data ? clean.data : "");
    rwf_str_add(out, "\"");
    rwf_str_free(&clean);
}

static void stream(const struct view_run *r, const struct run_step_state *s,
                   const char *name, const char *element, struct rwf_str *out)
{
    bool cut;
    char *path = view_log_path(r, s, name);
    char *text = view_tail(path, OUTPUT_MAX, &cut);

    if (text) {
        rwf_str_addf(out, "      <%s>%s", element, cut ? "[...]\n" : "");
        rwf_str_add_xml(out, text);
        rwf_str_addf(out, "</%s>\n", element);
    }
    free(text);
    free(path);
}

static void outcome(const struct view_run *r, const struct run_step_state *s,
                    struct rwf_str *out)
{
    const char *message = s && s->message ? s->message : "";

    switch (s ? s->state : STEP_PENDING) {
    case STEP_SUCCEEDED:
        break;
    case STEP_CACHED:
        rwf_str_add(out, "      <system-out>cached</system-out>\n");
        break;
    case STEP_FAILED:
        rwf_str_add(out, "      <failure");
        attribute(out, "type", s->cause ? s->cause : "failed");
        attribute(out, "message", message);
        rwf_str_add(out, "/>\n");
        stream(r, s, "stdout", "system-out", out);
        stream(r, s, "stderr", "system-err", out);
        break;
    default:
        rwf_str_add(out, "      <skipped");
        attribute(out, "message", *message ? message : "did not run");
        rwf_str_add(out, "/>\n");
    }
}

static void testcase(const struct view_run *r, const struct plan_step *step,
                     struct rwf_str *out)
{
    const struct run_step_state *s = run_state_step(r->state, step->address);
    uint32_t line;
    const char *file = view_where_file(r, step, &line);

    rwf_str_add(out, "    <testcase");
    attribute(out, "classname", step->op->section);
    attribute(out, "name", step->address);
    attribute(out, "file", file);
    rwf_str_addf(out, " line=\"%u\" time=\"%.3f\">\n", line,
                 s ? seconds(view_step_duration(s)) : 0.0);
    outcome(r, s, out);
    rwf_str_add(out, "    </testcase>\n");
}

void view_junit(const struct view_run *r, struct rwf_str *out)
{
    const struct run_state *s = r->state;
    size_t total = plan_graph_count(r->graph);
    size_t good = s->counts[STEP_SUCCEEDED] + s->counts[STEP_CACHED];
    size_t skipped = total - good - s->counts[STEP_FAILED];
    char when[RWF_TIME_LEN];

    rwf_clock_format(s->started, when);
    rwf_str_add(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
                     "  <testsuite");
    attribute(out, "name", s->name);
    attribute(out, "id", s->id);
    rwf_str_addf(out,
                 " tests=\"%zu\" failures=\"%zu\" errors=\"0\" skipped=\"%zu\" "
                 "time=\"%.3f\" timestamp=\"%.19s\">\n",
                 total, s->counts[STEP_FAILED], skipped,
                 seconds(s->ended > s->started ? s->ended - s->started : 0), when);
    for (size_t i = 0; i < total; i++)
        testcase(r, plan_graph_step(r->graph, (uint32_t)i), out);
    rwf_str_add(out, "  </testsuite>\n</testsuites>\n");
}
