/* SPDX-License-Identifier: Apache-2.0
 *
 * A recipe from any text: read, included, checked, its parameters resolved, printed. A
 * line "%%%" cuts the input in two, and the second part is the file inc.yaml beside the
 * recipe. Nothing is read from the disk: the texts come in a snapshot.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "recipe/recipe.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static FILE *sink;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    rwf_mem_init();
    sink = fopen("/dev/null", "w");
    return sink == NULL ? -1 : 0;
}

static void add_file(json_t *files, const char *path, const char *text, size_t len)
{
    json_array_append_new(files, json_pack("{s:s, s:s, s:s, s:o}", "path", path,
                                           "shown", path + 1, "sha256", "0", "text",
                                           json_stringn_nocheck(text, len)));
}

static json_t *snapshot_of(const char *text, size_t len)
{
    static const char cut[] = "\n%%%\n";
    json_t *files = json_array();
    const char *second = len == 0 ? NULL : memmem(text, len, cut, strlen(cut));
    size_t first_len = second == NULL ? len : (size_t)(second - text);
    add_file(files, "/r.yaml", text, first_len);
    if (second != NULL)
        add_file(files, "/inc.yaml", second + strlen(cut),
                 len - first_len - strlen(cut));
    return json_pack("{s:s, s:s, s:o, s:{s:s, s:[[s,s]], s:[[s,s],[s,s]]}}", "path",
                     "r.yaml", "dir", "/", "files", files, "given", "profile", "ci",
                     "params", "lr", "0.1", "sets", "tasks.a.retry.max", "1",
                     "notify.0.url", "x");
}

/* Every node stands inside its text, children do not start before the text does, and
 * what has a type is a scalar. */
static void check_tree(const struct recipe *r, const struct recipe_node *n, int depth)
{
    size_t len = 0;
    const char *line = NULL;
    if (depth > 80)
        abort();
    if (n->span.line != 0) {
        line = recipe_source_line(recipe_sources(r), n->span.file, n->span.line, &len);
        if (line == NULL || n->span.col > len + 2 || n->span.end_line < n->span.line)
            abort();
    }
    if (n->kind == RECIPE_SCALAR && strlen(n->text) != n->len)
        abort();
    for (size_t i = 0; n->kind != RECIPE_SCALAR && i < n->count; i++) {
        if (n->kind == RECIPE_MAP &&
            recipe_get(n, n->pairs[i].key) != n->pairs[i].value)
            abort();
        check_tree(r, n->kind == RECIPE_MAP ? n->pairs[i].value : n->items[i],
                   depth + 1);
    }
}

static void print_all(struct recipe_diags *diags, const struct recipe *r)
{
    recipe_diags_print(diags, recipe_sources(r), sink, true);
    json_decref(recipe_diags_json(diags, recipe_sources(r)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct recipe_diags *diags = recipe_diags_create();
    json_t *snapshot = snapshot_of((const char *)data, size);
    struct recipe_options options = {.snapshot = snapshot};
    struct recipe *r = recipe_load(NULL, &options, diags, &err);
    if (r == NULL)
        abort(); /* a snapshot with a text can always be loaded */
    check_tree(r, recipe_root(r), 0);
    print_all(diags, r);
    json_decref(recipe_to_json(recipe_root(r)));
    json_decref(recipe_snapshot(r));
    for (size_t i = 0; recipe_param_at(r, i) != NULL; i++) {
        const struct recipe_node *value = recipe_param(r, recipe_param_at(r, i));
        if (value != NULL && value->kind != RECIPE_SCALAR)
            abort();
    }
    recipe_destroy(r);
    recipe_diags_destroy(diags);
    json_decref(snapshot);
    return 0;
}
