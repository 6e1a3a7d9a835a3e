/* SPDX-License-Identifier: Apache-2.0
 *
 * The page is report.html with its style, its script and the data of the run put in; all
 * drawing but that of the graph is done by the script. Text of the run comes in as JSON
 * only, and the script sets it as text, never as markup.
 */
#include "config.h"

#include "view/report.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "plan/picture.h"

#define STEPS_MAX 2000
#define TAIL_FAILED (16 << 10)      /* bytes of each stream */
#define TAIL_OTHER (2 << 10)
#define TAILS_MAX (6 << 20)         /* of all streams together */
#define SERIES_POINTS 300           /* drawn per curve */
#define SERIES_ALL 100000           /* points of all curves together */

extern const char view_report_html[], view_report_css[], view_report_js[];

struct report {
    const struct view_run *run;
    json_t *record;
    size_t tails, points;
    bool *kept; /* by step */
};

/* --- pieces of the data --- */

static void add_tail(struct report *r, json_t *step, const struct run_step_state *s,
                     const char *stream)
{
    size_t max = s->state == STEP_FAILED ? TAIL_FAILED : TAIL_OTHER;
    bool cut;

    if (r->tails > TAILS_MAX)
        return;
    char *path = view_log_path(r->run, s, stream);
    char *text = view_tail(path, max, &cut);
    if (text) {
        r->tails += strlen(text);
        json_object_set_new(step, stream, json_pack("{s:s, s:b, s:s}", "text", text, "cut",
                                                    cut, "path", path));
    }
    free(text);
    free(path);
}

static void set_member(json_t *to, const char *name, const json_t *from, const char *as)
{
    json_t *value = json_object_get(from, as);

    if (value)
        json_object_set(to, name, value);
}

static void add_state(struct report *r, json_t *out, const struct run_step_state *s)
{
    json_t *record = json_object_get(json_object_get(r->record, "steps"), s->address);

    json_object_set_new(out, "state", json_string(schedule_state_name(s->state)));
    if (s->message)
        json_object_set_new(out, "message", json_string(s->message));
    if (s->cause)
        json_object_set_new(out, "cause", json_string(s->cause));
    if (s->origin)
        json_object_set_new(out, "origin", json_string(s->origin));
    if (s->key)
        json_object_set_new(out, "key", json_string(s->key));
    if (s->metrics && json_object_size(s->metrics))
        json_object_set(out, "metrics", (json_t *)s->metrics);
    if (s->outputs && json_object_size(s->outputs))
        json_object_set(out, "outputs", (json_t *)s->outputs);
    if (s->usage)
        json_object_set(out, "usage", (json_t *)s->usage);
    set_member(out, "attempts", record, "attempts");
    set_member(out, "gpus", record, "gpus");
    add_tail(r, out, s, "stdout");
    add_tail(r, out, s, "stderr");
}

static json_t *step_json(struct report *r, const struct plan_step *step)
{
    const struct run_step_state *s = run_state_step(r->run->state, step->address);
    const char *help = recipe_text(recipe_get(step->body, "help"), NULL);
    char *where = view_where(r->run, step);
    json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:s?, s:f, s:I, s:f}", "address",
                            step->address, "op", step->op->name, "where", where, "state",
                            schedule_state_name(STEP_PENDING), "help", help, "cpu",
                            step->policy->cpu, "memory", (json_int_t)step->policy->memory,
                            "gpu", step->policy->gpu);
    json_t *needs = json_array();

    for (size_t i = 0; i < step->need_count && i < 50; i++)
        json_array_append_new(
            needs, json_string(plan_graph_step(r->run->graph, step->needs[i])->address));
    json_object_set_new(out, "needs", needs);
    if (s)
        add_state(r, out, s);
    free(where);
    return out;
}

/* Which steps are shown when there are too many: those that went wrong come first. */
static size_t choose(struct report *r)
{
    size_t count = plan_graph_count(r->run->graph), chosen = 0;

    r->kept = rwf_xcalloc(count + 1, sizeof(*r->kept));
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < count && chosen < STEPS_MAX; i++) {
            const struct plan_step *step = plan_graph_step(r->run->graph, (uint32_t)i);
            const struct run_step_state *s = run_state_step(r->run->state, step->address);
            bool urgent = s && (s->state == STEP_FAILED || s->state == STEP_RUNNING);
            if (r->kept[i] || (pass == 0 && !urgent))
                continue;
            r->kept[i] = true;
            chosen++;
        }
    return chosen;
}

static json_t *steps_json(struct report *r)
{
    json_t *out = json_array();

    for (size_t i = 0; i < plan_graph_count(r->run->graph); i++)
        if (r->kept[i])
            json_array_append_new(
                out, step_json(r, plan_graph_step(r->run->graph, (uint32_t)i)));
    return out;
}

static json_t *thinned(const json_t *points)
{
    size_t count = json_array_size(points), stride = count / SERIES_POINTS + 1;
    json_t *out = json_array();

    for (size_t i = 0; i < count; i += stride)
        json_array_append(out, json_array_get(points, i));
    if (count && (count - 1) % stride)
        json_array_append(out, json_array_get(points, count - 1));
    return out;
}

static json_t *series_json(struct report *r)
{
    json_t *out = json_array(), *step, *points;
    const char *address, *name;

    json_object_foreach(json_object_get(r->record, "steps"), address, step)
        json_object_foreach(json_object_get(step, "series"), name, points) {
            if (r->points > SERIES_ALL || json_array_size(points) == 0)
                continue;
            json_t *thin = thinned(points);
            r->points += json_array_size(thin);
            json_array_append_new(out, json_pack("{s:s, s:s, s:O?, s:o}", "step", address,
                                                 "name", name, "x",
                                                 json_object_get(step, "x"), "points",
                                                 thin));
        }
    return out;
}

static json_t *config_json(const struct view_run *run)
{
    const json_t *snapshot = json_object_get(run->plan, "recipe");
    const struct recipe *recipe = plan_graph_recipe(run->graph);
    json_t *params = json_object(), *out;
    const char *name;

    for (size_t i = 0; (name = recipe_param_at(recipe, i)); i++)
        json_object_set_new(params, name,
                            json_string(recipe_text(recipe_param(recipe, name), "")));
    out = json_pack("{s:o, s:O?, s:O?, s:O?, s:O?, s:O?}", "params", params, "given",
                    json_object_get(snapshot, "given"), "env",
                    json_object_get(snapshot, "env"), "files",
                    json_object_get(snapshot, "files"), "only",
                    json_object_get(run->plan, "only"), "from",
                    json_object_get(run->plan, "from"));
    return out;
}

static json_t *run_json(const struct view_run *run)
{
    const struct run_state *s = run->state;
    char when[RWF_TIME_LEN];
    int64_t end = s->ended > 0 ? s->ended : rwf_clock_wall();
    json_t *counts = json_object();

    rwf_clock_format(s->started, when);
    for (int i = 0; i < STEP_STATE_COUNT; i++)
        if (s->counts[i])
            json_object_set_new(counts, schedule_state_name(i),
                                json_integer((json_int_t)s->counts[i]));
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:f, s:i, s:s?, s:s, s:o, s:i}", "id",
                     s->id, "name", s->name ? s->name : "", "recipe",
                     s->recipe ? s->recipe : "", "status", s->status, "started", when,
                     "duration", (double)(end - s->started) / (double)RWF_NS_PER_MS,
                     "exit_code", s->exit_code, "message", s->message, "raywf",
                     PACKAGE_VERSION, "counts", counts, "total", (int)s->total);
}

static json_t *data_json(struct report *r)
{
    size_t chosen = choose(r);

    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:O?, s:i, s:i}", "run", run_json(r->run),
                     "steps", steps_json(r), "series", series_json(r), "checks",
                     view_checks(r->run), "config", config_json(r->run), "machine",
                     json_object_get(r->record, "machine"), "shown", (int)chosen, "total",
                     (int)plan_graph_count(r->run->graph));
}

/* --- the page --- */

/* JSON inside <script>: "<" is written as an escape, so that no "</script>" or "<!--" of
 * the data ends or changes the element. */
static void add_json(struct rwf_str *out, const json_t *data)
{
    char *text = json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(9));

    for (const char *at = text; *at;) {
        size_t len = strcspn(at, "<");
        rwf_str_addn(out, at, len);
        at += len;
        if (*at == '<') {
            rwf_str_add(out, "\\u003c");
            at++;
        }
    }
    free(text);
}

static const char *class_of(void *ctx, uint32_t step)
{
    const struct view_run *run = ctx;
    const char *address = plan_graph_step(run->graph, step)->address;
    const struct run_step_state *s = run_state_step(run->state, address);

    return schedule_state_name(s ? s->state : STEP_PENDING);
}

/* Without Graphviz the page has no picture, and says so. */
static void add_graph(struct report *r, struct rwf_str *out)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct rwf_str svg = {0};

    if (plan_picture_svg(r->run->graph, class_of, (void *)r->run, &svg, &err) == 0) {
        rwf_str_addn(out, svg.data, svg.len);
    } else {
        rwf_str_add(out, "<p class=\"quiet\">");
        rwf_str_add_xml(out, err.text);
        rwf_str_add(out, "</p>");
    }
    rwf_str_free(&svg);
}

static void add_title(struct report *r, struct rwf_str *out)
{
    rwf_str_add_xml(out, r->run->state->name ? r->run->state->name : "raywf");
    rwf_str_add(out, ": ");
    rwf_str_add_xml(out, r->run->state->status);
}

static void add_data(struct report *r, struct rwf_str *out)
{
    json_t *data = data_json(r);

    add_json(out, data);
    json_decref(data);
}

static void add_css(struct report *r, struct rwf_str *out)
{
    (void)r;
    rwf_str_add(out, view_report_css);
}

static void add_js(struct report *r, struct rwf_str *out)
{
    (void)r;
    rwf_str_add(out, view_report_js);
}

static const struct {
    const char *mark; /* in report.html */
    void (*add)(struct report *r, struct rwf_str *out);
} pieces[] = {{"@TITLE@", add_title}, {"@CSS@", add_css}, {"@GRAPH@", add_graph},
              {"@DATA@", add_data}, {"@JS@", add_js}};

static void fill_in(struct report *r, struct rwf_str *out)
{
    const char *at = view_report_html;

    for (size_t i = 0; i < RWF_COUNT(pieces); i++) {
        const char *mark = strstr(at, pieces[i].mark);
        rwf_assert(mark != NULL);
        rwf_str_addn(out, at, (size_t)(mark - at));
        pieces[i].add(r, out);
        at = mark + strlen(pieces[i].mark);
    }
    rwf_str_add(out, at);
}

int view_report(const struct view_run *run, struct rwf_str *out, struct rwf_err *err)
{
    struct report r = {.run = run};
    char *log = rwf_fs_join(run->dir, "events.ndjson");

    r.record = view_record(log, err);
    free(log);
    if (!r.record)
        return -1;
    fill_in(&r, out);
    json_decref(r.record);
    free(r.kept);
    return 0;
}
