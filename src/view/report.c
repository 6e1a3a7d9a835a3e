/* SPDX-License-Identifier: Apache-2.0
 *
 * The page: a template with marks ("<!--@name-->"), each filled by a function of the
 * table below. The browser draws from the data, as text only; a content policy names
 * the one script that may run by its digest, so nothing that a step wrote can run even
 * by a mistake.
 */
#include "config.h"
#include "view/report.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"
#include "plan/picture.h"
#include "run/log.h"
#include "view/report_parts.h"

#define STEPS_MAX 2000
#define SVG_MAX (4 * 1024 * 1024)

/* The template and what goes into it, embedded by tools/embed.sh. */
extern const char view_report_html[], view_report_css[], view_report_js[];
extern const size_t view_report_css_len, view_report_js_len;

/* --- which steps --- */

static int rank_of(const struct run_step_state *s)
{
    if (s == NULL)
        return 4;
    switch (s->state) {
    case STEP_FAILED:
        return 0;
    case STEP_RUNNING:
    case STEP_BACKOFF:
    case STEP_STOPPED:
        return 1;
    case STEP_SUCCEEDED:
        return s->failures > 0 || s->attempt > 1 ? 2 : 3;
    default:
        return 4;
    }
}

static void list_steps(struct view__report *r)
{
    const struct plan_graph *g = r->run->graph;
    const struct run_state *state = r->run->state;
    r->count = g != NULL ? plan_graph_count(g) : run_state_step_count(state);
    r->steps = rwf_xcalloc(r->count + 1, sizeof(*r->steps));
    for (size_t i = 0; i < r->count; i++) {
        struct view__step *step = &r->steps[i];
        if (g != NULL) {
            step->plan = plan_graph_step(g, (uint32_t)i);
            step->address = step->plan->address;
            step->state = run_state_step(state, step->address);
        } else {
            step->state = run_state_step_at(state, i);
            step->address = step->state->address;
        }
        step->rank = rank_of(step->state);
    }
}

static void keep_steps(struct view__report *r)
{
    r->by_address = rwf_map_create();
    for (int rank = 0; rank <= 4; rank++)
        for (size_t i = 0; i < r->count && r->kept < STEPS_MAX; i++) {
            struct view__step *step = &r->steps[i];
            if (step->rank != rank)
                continue;
            step->kept = true;
            step->attempts = json_array();
            step->told = json_object();
            step->logs = json_array();
            rwf_map_set(r->by_address, step->address, step);
            r->kept++;
        }
}

static void step_clear(struct view__step *step)
{
    for (size_t i = 0; i < step->series_count; i++) {
        free((char *)(uintptr_t)step->series[i].name);
        free(step->series[i].points);
    }
    free(step->series);
    json_decref(step->attempts);
    json_decref(step->told);
    json_decref(step->logs);
    free(step->command);
}

static void report_clear(struct view__report *r)
{
    for (size_t i = 0; i < r->count; i++)
        step_clear(&r->steps[i]);
    free(r->steps);
    rwf_map_destroy(r->by_address, NULL);
    json_decref(r->machine);
    json_decref(r->raywf);
    json_decref(r->segments);
    json_decref(r->notices);
    json_decref(r->served);
}

/* --- filling the template --- */

/* Of a script, as a content policy wants it. */
static void add_hash(struct rwf_str *out, const char *bytes, size_t len)
{
    unsigned char digest[SHA256_DIGEST_LENGTH], text[2 * SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)bytes, len, digest);
    EVP_EncodeBlock(text, digest, sizeof(digest));
    rwf_str_addf(out, "sha256-%s", (const char *)text);
}

static void fill_policy(struct rwf_str *out, const struct view__report *r)
{
    (void)r;
    rwf_str_add(out,
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
                "'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action "
                "'none'; script-src '");
    add_hash(out, view_report_js, view_report_js_len);
    rwf_str_add(out, "'\">");
}

static void fill_title(struct rwf_str *out, const struct view__report *r)
{
    const char *name = r->run->state->name;
    rwf_str_add_xml(out, name == NULL ? "run" : name);
    rwf_str_add(out, " · ");
    rwf_str_add_xml(out, r->status);
}

static void fill_style(struct rwf_str *out, const struct view__report *r)
{
    (void)r;
    rwf_str_addn(out, view_report_css, view_report_css_len);
}

static void fill_script(struct rwf_str *out, const struct view__report *r)
{
    (void)r;
    rwf_str_addn(out, view_report_js, view_report_js_len);
}

/* What no script may read as markup or as the end of a line; it stands in strings. */
static void fill_data(struct rwf_str *out, const struct view__report *r)
{
    json_t *data = view__report_data(r);
    char *text = json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(12));
    rwf_assert(text != NULL);
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '<')
            rwf_str_add(out, "\\u003c");
        else if (strncmp(c, "\xe2\x80\xa8", 3) == 0 ||
                 strncmp(c, "\xe2\x80\xa9", 3) == 0) {
            rwf_str_add(out, c[2] == '\xa8' ? "\\u2028" : "\\u2029");
            c += 2;
        } else
            rwf_str_addc(out, *c);
    }
    free(text);
    json_decref(data);
}

static const char *class_of(void *ctx, uint32_t step)
{
    const struct view__report *r = ctx;
    const struct run_step_state *s = r->steps[step].state;
    return schedule_state_name(s == NULL ? STEP_PENDING : s->state);
}

static void fill_graph(struct rwf_str *out, const struct view__report *r)
{
    struct rwf_str svg = {0};
    struct rwf_err why = RWF_ERR_INIT;
    int rc = -1;
    if (r->run->graph == NULL)
        rwf_fail(&why, RWF_E_INPUT, "the run's folder holds no plan that can be read");
    else
        rc = plan_picture_svg(r->run->graph, class_of, (void *)(uintptr_t)r, &svg,
                              &why);
    if (rc == 0 && svg.len > SVG_MAX)
        rc = rwf_fail(&why, RWF_E_FIT, "it is too large for a page");
    if (rc == 0)
        rwf_redact(out, svg.data, svg.len);
    else {
        rwf_str_add(out, "<p class=\"note\">The graph is not drawn: ");
        rwf_str_add_xml(out, why.text);
        rwf_str_add(out, ".</p>");
    }
    rwf_str_free(&svg);
}

static const struct {
    const char *mark;
    void (*fill)(struct rwf_str *out, const struct view__report *r);
} fillers[] = {
    {"policy", fill_policy}, {"title", fill_title}, {"style", fill_style},
    {"graph", fill_graph},   {"data", fill_data},   {"script", fill_script},
};

static void fill(struct rwf_str *out, const char *mark, size_t len,
                 const struct view__report *r)
{
    size_t i = 0;
    while (i < RWF_COUNT(fillers) &&
           (strncmp(fillers[i].mark, mark, len) != 0 || fillers[i].mark[len] != '\0'))
        i++;
    rwf_assert(i < RWF_COUNT(fillers));
    fillers[i].fill(out, r);
}

static void make_page(struct rwf_str *out, const struct view__report *r)
{
    static const char begin[] = "<!--@", end[] = "-->";
    const char *from = view_report_html, *mark;
    while ((mark = strstr(from, begin)) != NULL) {
        const char *name = mark + strlen(begin);
        const char *last = strstr(name, end);
        rwf_assert(last != NULL);
        rwf_str_addn(out, from, (size_t)(mark - from));
        fill(out, name, (size_t)(last - name), r);
        from = last + strlen(end);
    }
    rwf_str_add(out, from);
}

/* A run that nobody drives any more says still that it is running. */
static const char *status_of(const struct view_run *r, const char *log_path)
{
    bool running = strcmp(r->state->status, "running") == 0;
    return running && run_log_holder(log_path) == 0 ? "interrupted" : r->state->status;
}

int view_report(const struct view_run *run, struct rwf_str *out, struct rwf_err *err)
{
    char *log = rwf_fs_join(run->dir, "events.ndjson");
    struct view__report r = {.run = run, .status = status_of(run, log)};
    r.segments = json_array();
    r.notices = json_array();
    r.served = json_array();
    list_steps(&r);
    keep_steps(&r);
    int rc = view__history_read(&r, log, err);
    if (rc == 0) {
        view__logs_read(&r);
        make_page(out, &r);
    }
    report_clear(&r);
    free(log);
    return rc;
}
