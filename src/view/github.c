/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "view/github.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/redact.h"
#include "view/summary.h"

#define ANNOTATIONS_MAX 50 /* GitHub shows ten of each kind; the rest is noise */

bool view_github_active(void)
{
    const char *value = getenv("GITHUB_ACTIONS");

    return value && strcmp(value, "true") == 0;
}

/* Values of a workflow command: %, CR and LF are escaped; in properties also : and , */
static void escape(struct rwf_str *out, const char *text, bool property)
{
    for (; *text; text++)
        if (*text == '%' || *text == '\r' || *text == '\n' ||
            (property && (*text == ':' || *text == ',')))
            rwf_str_addf(out, "%%%02X", (unsigned char)*text);
        else
            rwf_str_addc(out, *text);
}

struct annotation {
    const char *kind; /* error, warning */
    const char *file;
    uint32_t line, col;
    const char *title, *message;
};

static void annotate(const struct annotation *a, FILE *out)
{
    struct rwf_str text = {0}, clean = {0};

    rwf_str_addf(&text, "::%s file=", a->kind);
    escape(&text, a->file, true);
    rwf_str_addf(&text, ",line=%u", a->line ? a->line : 1);
    if (a->col)
        rwf_str_addf(&text, ",col=%u", a->col);
    rwf_str_add(&text, ",title=");
    escape(&text, a->title, true);
    rwf_str_add(&text, "::");
    escape(&text, a->message, false);
    rwf_redact(&clean, text.data, text.len);
    fprintf(out, "%s\n", clean.data);
    rwf_str_free(&text);
    rwf_str_free(&clean);
}

void view_github_diags(struct recipe_diags *d, const struct recipe_sources *sources,
                       FILE *out)
{
    for (size_t i = 0; i < recipe_diags_count(d) && i < ANNOTATIONS_MAX; i++) {
        const struct recipe_diag *diag = recipe_diags_at(d, i);
        const struct recipe_code_info *info = recipe_code_info(diag->code);
        char *title = rwf_xasprintf("%s: %s", info->name, info->title);
        char *message = rwf_xasprintf("%s%s%s", diag->message, diag->hint ? "\n" : "",
                                      diag->hint ? diag->hint : "");
        struct annotation a = {
            .kind = info->severity == RECIPE_ERROR ? "error" : "warning",
            .file = recipe_file_path(sources, diag->span.file),
            .line = diag->span.line,
            .col = diag->span.col,
            .title = title,
            .message = message,
        };
        annotate(&a, out);
        free(title);
        free(message);
    }
}

void view_github_steps(const struct view_run *r, FILE *out)
{
    size_t told = 0;

    for (size_t i = 0; i < plan_graph_count(r->graph) && told < ANNOTATIONS_MAX; i++) {
        const struct plan_step *step = plan_graph_step(r->graph, (uint32_t)i);
        const struct run_step_state *s = run_state_step(r->state, step->address);
        if (!s || s->state != STEP_FAILED)
            continue;
        char *title = rwf_xasprintf("%s failed", step->address);
        struct annotation a = {.kind = "error",
                               .title = title,
                               .message = s->message ? s->message : "failed"};
        a.file = view_where_file(r, step, &a.line);
        annotate(&a, out);
        free(title);
        told++;
    }
}

int view_github_summary(const struct view_run *r, struct rwf_err *err)
{
    const char *path = getenv("GITHUB_STEP_SUMMARY");
    struct rwf_str text = {0}, clean = {0};

    if (!path || !*path)
        return 0;
    view_markdown(r, &text);
    rwf_redact(&clean, text.data, text.len);
    FILE *f = fopen(path, "ae");
    int status = 0;
    if (!f || fwrite(clean.data, 1, clean.len, f) != clean.len)
        status = rwf_fail(err, errno, "%s: cannot write the step summary: %s", path,
                          strerror(errno));
    if (f && fclose(f) != 0 && status == 0)
        status = rwf_fail(err, errno, "%s: cannot write the step summary: %s", path,
                          strerror(errno));
    rwf_str_free(&text);
    rwf_str_free(&clean);
    return status;
}
