/* SPDX-License-Identifier: Apache-2.0
 *
 * Recipes as strings for the tests of plan/: each goes to a file in a folder of its
 * own.
 */
#ifndef PLAN_SUPPORT_H
#define PLAN_SUPPORT_H
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "plan/builtin.h"
#include "plan/graph.h"

static const struct op *const test_ops[]
    __attribute__((unused)) = {&plan_task_op, &plan_check_op, NULL};
static const struct op *const mock_ops[]
    __attribute__((unused)) = {&plan_mock_op, &plan_check_op, NULL};

struct fixture {
    char dir[64];
    struct recipe_diags *diags;
    struct recipe *recipe;
    struct plan_graph *graph;
    struct rwf_err err;
};

static inline void write_file(const struct fixture *f, const char *name,
                              const char *text)
{
    char *path = rwf_fs_join(f->dir, name);
    char *folder = rwf_fs_dirname(path);

    ck_assert_int_eq(rwf_fs_mkdirs(folder, NULL), 0);
    ck_assert_int_eq(rwf_fs_write(path, text, strlen(text), false, NULL), 0);
    free(folder);
    free(path);
}

static inline void fixture_open(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    strcpy(f->dir, "/tmp/raywf-plan-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
    f->diags = recipe_diags_create();
}

/* Loads text (with the first line added) and builds; f->graph is NULL after errors. */
static inline void fixture_build(struct fixture *f, const char *text,
                                 const struct op *const *ops,
                                 const struct plan_options *options)
{
    char *path = rwf_fs_join(f->dir, "recipe.yaml");
    char *whole = rwf_xasprintf("recipe: raywf/v1\n%s", text);

    write_file(f, "recipe.yaml", whole);
    f->recipe = recipe_load(path, NULL, f->diags, &f->err);
    ck_assert_msg(f->recipe != NULL, "%s", f->err.text);
    f->graph = plan_graph_build(f->recipe, ops, options, f->diags, &f->err);
    free(whole);
    free(path);
}

static inline void fixture_close(struct fixture *f)
{
    plan_graph_destroy(f->graph);
    recipe_destroy(f->recipe);
    recipe_diags_destroy(f->diags);
    rwf_fs_rmtree(f->dir, NULL);
}

/* All diagnostics, one per line: "E0202 3:14-20 message (hint)". */
static inline char *diags_text(struct fixture *f)
{
    struct rwf_str out = {0};

    for (size_t i = 0; i < recipe_diags_count(f->diags); i++) {
        const struct recipe_diag *d = recipe_diags_at(f->diags, i);
        rwf_str_addf(&out, "%s %u:%u-%u %s", recipe_code_info(d->code)->name,
                     d->span.line, d->span.col, d->span.end_col, d->message);
        if (d->hint)
            rwf_str_addf(&out, " (%s)", d->hint);
        rwf_str_addc(&out, '\n');
    }
    return rwf_str_take(&out);
}

static inline void assert_built(struct fixture *f)
{
    char *text = diags_text(f);

    ck_assert_msg(f->graph != NULL, "%s%s", text, f->err.text);
    free(text);
}

static inline void assert_diag(struct fixture *f, const char *part)
{
    char *text = diags_text(f);

    ck_assert_msg(f->graph == NULL, "built, though this was expected: %s", part);
    ck_assert_msg(strstr(text, part) != NULL, "expected: %s\nfound:\n%s", part, text);
    free(text);
}

static inline const struct plan_step *step_at(const struct fixture *f,
                                              const char *address)
{
    uint32_t i = plan_graph_find(f->graph, address);

    ck_assert_msg(i != PLAN_NO_STEP, "no step %s", address);
    return plan_graph_step(f->graph, i);
}

/* "tasks.a tasks.b …" in order. */
static inline char *addresses(const struct fixture *f)
{
    struct rwf_str out = {0};

    for (uint32_t i = 0; i < plan_graph_count(f->graph); i++)
        rwf_str_addf(&out, "%s%s", i ? " " : "", plan_graph_step(f->graph, i)->address);
    return rwf_str_take(&out);
}

static inline char *needs_of(const struct fixture *f, const char *address)
{
    const struct plan_step *s = step_at(f, address);
    struct rwf_str out = {0};

    for (size_t i = 0; i < s->need_count; i++)
        rwf_str_addf(&out, "%s%s", i ? " " : "",
                     plan_graph_step(f->graph, s->needs[i])->address);
    return rwf_str_take(&out);
}

#define ASSERT_TAKEN(expr, want)                                                       \
    do {                                                                               \
        char *taken_ = (expr);                                                         \
        ck_assert_str_eq(taken_, want);                                                \
        free(taken_);                                                                  \
    } while (0)

static inline int run_suite(Suite *s)
{
    SRunner *runner = srunner_create(s);
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
