/* SPDX-License-Identifier: Apache-2.0
 *
 * tasks: a command per step. Its spec is
 *
 *   {"argv":[…],"env":{…},"dir":PATH?,"outputs":{…},"inputs":{NAME:PATH|[…]}?,"item":PATH?}
 *
 * `run` text becomes an argv with its shell. Code counts: a word of the command that
 * names a file beneath the recipe's folder is an input like the declared ones.
 */
#include "config.h"
#include "plan/builtin.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/fs.h"
#include "base/mem.h"
#include "plan/inside.h"

#define WORDS_MAX 1000    /* of a command that are looked at for code */
#define FOLDER_MAX 100000 /* files of a folder that is an input */
#define RECIPE_DIR "<recipe.dir>/"

bool plan__has_rows(const struct recipe_node *body)
{
    const struct recipe_node *foreach = recipe_get(body, "foreach");

    return foreach && foreach->kind == RECIPE_MAP && recipe_get(foreach, "rows");
}

static void check_foreach(const char *name, const struct recipe_node *body,
                          struct recipe_diags *diags)
{
    const struct recipe_node *foreach = recipe_get(body, "foreach"), *batch;
    struct recipe_diag *d = NULL;

    if (!foreach || foreach->kind != RECIPE_MAP)
        return;
    batch = recipe_get(foreach, "batch");
    if (plan__has_rows(body) && !recipe_get(body, "native"))
        d = recipe_diag_add(diags, RECIPE_E0306, recipe_get(foreach, "rows")->span,
                            "tasks.%s is a command: foreach with rows goes with native",
                            name);
    else if (batch && !plan__has_rows(body))
        d = recipe_diag_add(diags, RECIPE_E0306, batch->span,
                            "batch goes with rows: an item of tasks.%s is one instance",
                            name);
    if (d && !batch)
        recipe_diag_hint(d, "a dataset passes its rows through a program: "
                            "datasets.NAME.steps: [{run: …}]");
}

void plan_task_validate(const struct recipe *r, const char *name,
                        const struct recipe_node *body, struct recipe_diags *diags)
{
    const struct recipe_node *outputs = recipe_get(body, "outputs");

    (void)r;
    check_foreach(name, body, diags);
    for (size_t i = 0; outputs && outputs->kind == RECIPE_MAP && i < outputs->count;
         i++) {
        const struct recipe_node *path = outputs->pairs[i].value;
        if (path->kind != RECIPE_SCALAR || plan__has_refs(path))
            continue;
        if (!rwf_fs_is_beneath(path->text))
            recipe_diag_add(
                diags, RECIPE_E0304, path->span,
                "output '%s' of %s: '%s' is no path beneath the step's "
                "folder",
                outputs->pairs[i].key, name, path->text);
        for (size_t k = 0; k < i; k++) {
            const struct recipe_node *other = outputs->pairs[k].value;
            if (other->kind == RECIPE_SCALAR && strcmp(other->text, path->text) == 0)
                recipe_diag_add(diags, RECIPE_E0304, path->span,
                                "outputs '%s' and '%s' of %s are the same file",
                                outputs->pairs[k].key, outputs->pairs[i].key, name);
        }
    }
}

static int lower(struct plan_lowering *l, const char *name,
                 const struct recipe_node *body, struct rwf_err *err)
{
    return plan_lower_one(l, name, body, err);
}

json_t *plan_task_outputs(const struct recipe_node *body)
{
    const struct recipe_node *map = recipe_get(body, "outputs");
    json_t *out = json_object();

    for (size_t i = 0; map && map->kind == RECIPE_MAP && i < map->count; i++)
        if (map->pairs[i].value->kind == RECIPE_SCALAR)
            json_object_set_new(out, map->pairs[i].key,
                                json_string(map->pairs[i].value->text));
    return out;
}

/* --- the spec --- */

static json_t *shell_argv(const struct plan_graph *g, const struct plan_step *step,
                          const struct recipe_node *run, struct rwf_err *err)
{
    const struct recipe_node *shell = recipe_get(step->body, "shell");
    json_t *argv, *text;

    text = plan_resolve(g, step, run, err);
    if (!text)
        return NULL;
    argv = shell && !shell->null ? plan_resolve(g, step, shell, err)
                                 : json_pack("[ss]", "sh", "-euc");
    if (!argv || json_array_append(argv, text) < 0) {
        json_decref(argv);
        argv = NULL;
    }
    json_decref(text);
    return argv;
}

/* A new folder holds no programs: ./train.sh is the one beside the recipe. */
static void find_program(const struct plan_graph *g, const struct plan_step *step,
                         json_t *argv)
{
    const char *name = json_string_value(json_array_get(argv, 0));
    const struct recipe_node *dir = recipe_get(step->body, "dir");

    if (g->mode != PLAN_RUN || !name || name[0] == '/' || !strchr(name, '/') ||
        (dir && !dir->null))
        return;
    char *joined = rwf_fs_join(recipe_dir(g->recipe), name);
    char *path = rwf_fs_absolute(joined);
    json_array_set_new(argv, 0, json_string(path));
    free(path);
    free(joined);
}

/* In a train entry it is called command; of a gang both stand in gang. */
static const struct recipe_node *argv_of(const struct recipe_node *body)
{
    const struct recipe_node *argv = recipe_get(body, "argv");
    const struct recipe_node *gang = recipe_get(body, "gang");
    return argv ? argv : recipe_get(gang ? gang : body, "command");
}

static const struct recipe_node *run_of(const struct recipe_node *body)
{
    const struct recipe_node *gang = recipe_get(body, "gang");
    return recipe_get(gang ? gang : body, "run");
}

/* A program of raywf's own, for a gang: gang/program.c knows where it is. */
static json_t *builtin_argv(const struct plan_graph *g, const struct plan_step *step,
                            const struct recipe_node *builtin, struct rwf_err *err)
{
    json_t *name = plan_resolve(g, step, builtin, err);

    return name ? json_pack("[s, o]", "raywf-rank", name) : NULL;
}

static json_t *make_argv(const struct plan_graph *g, const struct plan_step *step,
                         struct rwf_err *err)
{
    const struct recipe_node *run = run_of(step->body);
    const struct recipe_node *argv = argv_of(step->body);
    const struct recipe_node *builtin = recipe_at(step->body, "gang.builtin");
    json_t *out = NULL;

    if (run)
        out = shell_argv(g, step, run, err);
    else if (builtin)
        out = builtin_argv(g, step, builtin, err);
    else if (argv)
        out = plan_resolve(g, step, argv, err);
    else
        rwf_fail(err, RWF_E_RECIPE, "%s has neither run nor argv", step->address);
    if (out && argv)
        find_program(g, step, out);
    if (!out || json_array_size(out) > 0)
        return out;
    rwf_fail(err, RWF_E_RECIPE, "%s: argv is empty: there is no command to run",
             step->address);
    json_decref(out);
    return NULL;
}

static int add_outputs(const struct plan_graph *g, const struct plan_step *step,
                       json_t *spec, struct rwf_err *err)
{
    const json_t *out = plan_step_outputs(g, step);
    const char *name;
    json_t *path;

    json_object_foreach((json_t *)out, name, path)
        if (!rwf_fs_is_beneath(json_string_value(path)))
            return rwf_fail(err, RWF_E_RECIPE,
                            "%s: output '%s': '%s' is no path beneath the "
                            "task's folder",
                            step->address, name, json_string_value(path));
    return json_object_set(spec, "outputs", (json_t *)out);
}

/* The working folder: absolute when the step runs. */
static int add_dir(const struct plan_graph *g, const struct plan_step *step,
                   json_t *spec, struct rwf_err *err)
{
    const struct recipe_node *node = recipe_get(step->body, "dir");
    json_t *dir;
    char *path;

    if (!node || node->null)
        return 0;
    dir = plan_resolve(g, step, node, err);
    if (!dir)
        return -1;
    if (g->mode == PLAN_RUN && json_is_string(dir)) {
        path = rwf_fs_join(recipe_dir(g->recipe), json_string_value(dir));
        json_string_set(dir, path);
        free(path);
    }
    return json_object_set_new(spec, "dir", dir);
}

/* Each input as ${inputs.NAME} gives it. */
static int add_inputs(const struct plan_graph *g, const struct plan_step *step,
                      json_t *spec, struct rwf_err *err)
{
    const struct recipe_node *map = recipe_get(step->body, "inputs");
    json_t *out, *value;

    if (!map || map->kind != RECIPE_MAP || map->count == 0)
        return 0;
    out = json_object();
    json_object_set_new(spec, "inputs", out);
    for (size_t i = 0; i < map->count; i++) {
        value = plan__resolve_ref(g, step, "inputs", map->pairs[i].key,
                                  map->pairs[i].value, err);
        if (!value || json_object_set_new(out, map->pairs[i].key, value) < 0)
            return -1;
    }
    return 0;
}

static int add_item(const struct plan_step *step, json_t *spec)
{
    const struct plan__step *s = (const struct plan__step *)step;

    if (!s->entry->by_file)
        return 0;
    return json_object_set_new(spec, "item",
                               json_string(step->bindings[0].value->text));
}

int plan__task_spec(const struct plan_graph *g, const struct plan_step *step,
                    json_t *spec, struct rwf_err *err)
{
    const struct recipe_node *env = recipe_get(step->body, "env");
    json_t *value =
        env && !env->null ? plan_resolve(g, step, env, err) : json_object();

    if (!value || json_object_set_new(spec, "env", value) < 0)
        return -1;
    if (add_outputs(g, step, spec, err) < 0 || add_inputs(g, step, spec, err) < 0)
        return -1;
    return add_item(step, spec);
}

json_t *plan_task_spec(const struct plan_graph *g, const struct plan_step *step,
                       struct rwf_err *err)
{
    json_t *out = json_object();
    json_t *argv = make_argv(g, step, err);

    if (argv && json_object_set_new(out, "argv", argv) == 0 &&
        add_dir(g, step, out, err) == 0 && plan__task_spec(g, step, out, err) == 0)
        return out;
    json_decref(out);
    return NULL;
}

/* --- what decides the result --- */

/* A path relative to the recipe's folder, or NULL when it does not lie beneath. */
static const char *beneath(const struct plan_graph *g, const char *path)
{
    const char *dir = recipe_dir(g->recipe);
    size_t len = strlen(dir);

    if (rwf_starts_with(path, RECIPE_DIR))
        path += strlen(RECIPE_DIR);
    else if (strncmp(path, dir, len) == 0 && path[len] == '/')
        path += len + 1;
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    return rwf_fs_is_beneath(path) ? path : NULL;
}

/* Whether a path beneath the recipe's folder is a regular file: asked once per graph.
 */
static bool is_code(const struct plan_graph *g, const char *path)
{
    static char yes, no;
    struct plan_graph *mine = (struct plan_graph *)g;
    void *known;
    char *full;

    if (!g->is_file)
        mine->is_file = rwf_map_create();
    known = rwf_map_get(g->is_file, path);
    if (!known) {
        full = rwf_fs_join(recipe_dir(g->recipe), path);
        known = rwf_fs_is_file(full) ? &yes : &no;
        free(full);
        rwf_map_set(mine->is_file, path, known);
    }
    return known == &yes;
}

void plan_add_code_word(const struct plan_graph *g, const char *dir, const char *word,
                        json_t *files)
{
    const char *path = beneath(g, word);
    struct rwf_str inside = {0};
    double number;

    if (!path || path[0] == '-' || recipe_looks_number(path, &number))
        return;
    if (is_code(g, path))
        json_object_set_new(files, path, json_true());
    if (!dir || word[0] == '/')
        return;
    rwf_str_addf(&inside, "%s/%s", dir, path);
    path = beneath(g, inside.data);
    if (path && is_code(g, path))
        json_object_set_new(files, path, json_true());
    rwf_str_free(&inside);
}

/* The words of a shell text: only what could be a path, so quoting need not be
 * understood. */
void plan_add_code_text(const struct plan_graph *g, const char *dir, const char *text,
                        json_t *files)
{
    static const char ends[] = " \t\r\n;|&()<>`\"'$=";
    char word[1024];
    int words = 0;

    while (*text && words < WORDS_MAX) {
        size_t head = rwf_starts_with(text, RECIPE_DIR) ? strlen(RECIPE_DIR) : 0;
        size_t len = head + strcspn(text + head, ends);
        if (len > 0 && len < sizeof(word)) {
            memcpy(word, text, len);
            word[len] = '\0';
            plan_add_code_word(g, dir, word, files);
            words++;
        }
        text += len;
        text += *text && !rwf_starts_with(text, RECIPE_DIR);
    }
}

static void add_code(const struct plan_graph *g, const struct plan_step *step,
                     const json_t *spec, json_t *files)
{
    const json_t *argv = json_object_get(spec, "argv"), *item;
    const char *dir = json_string_value(json_object_get(spec, "dir"));
    size_t i, last = json_array_size(argv) - 1;
    bool shell = run_of(step->body) != NULL;

    json_array_foreach((json_t *)argv, i, item) {
        const char *word = json_string_value(item);
        if (!word)
            continue;
        if (shell && i == last)
            plan_add_code_text(g, dir, word, files);
        else
            plan_add_code_word(g, dir, word, files);
    }
}

/* Names in a folder, sorted by nobody: keys of an object are. */
static int add_folder(const char *full, const char *path, json_t *files, int depth,
                      struct rwf_err *err)
{
    DIR *dir = opendir(full);
    struct dirent *entry;
    int rc = 0;

    if (!dir)
        return rwf_fail(err, RWF_E_INPUT, "cannot read the folder %s: %s", full,
                        strerror(errno));
    while (rc == 0 && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *inner_full = rwf_fs_join(full, entry->d_name);
        char *inner = rwf_fs_join(path, entry->d_name);
        struct stat st;
        if (lstat(inner_full, &st) == 0 && S_ISDIR(st.st_mode) && depth < 64)
            rc = add_folder(inner_full, inner, files, depth + 1, err);
        else if (rwf_fs_is_file(inner_full))
            json_object_set_new(files, inner, json_true());
        if (json_object_size(files) > FOLDER_MAX)
            rc = rwf_fail(err, RWF_E_INPUT, "the folder %s has more than %d files",
                          path, FOLDER_MAX);
        free(inner_full);
        free(inner);
    }
    closedir(dir);
    return rc;
}

int plan_add_path(const struct plan_graph *g, const char *path, json_t *files,
                   struct rwf_err *err)
{
    const char *inside = beneath(g, path);
    struct stat st;
    char *full;
    int rc = 0;

    if (rwf_starts_with(path, "sha256:"))
        return 0; /* the output of another step: its content is in the spec */
    full = rwf_fs_join(recipe_dir(g->recipe), inside ? inside : path);
    if (stat(full, &st) == 0 && S_ISDIR(st.st_mode))
        rc = add_folder(full, inside ? inside : path, files, 0, err);
    else
        json_object_set_new(files, inside ? inside : path, json_true());
    free(full);
    return rc;
}

static int add_declared(const struct plan_graph *g, const struct plan_step *step,
                        const char *name, const json_t *value, json_t *files,
                        struct rwf_err *err)
{
    const struct recipe_node *map = recipe_get(step->body, "inputs");
    json_t *path;
    size_t i;

    if (json_is_string(value))
        return plan_add_path(g, json_string_value(value), files, err);
    if (json_array_size(value) == 0) {
        const struct recipe_node *node = recipe_get(map, name);
        char *where = recipe_where(recipe_sources(g->recipe), node->span);
        rwf_fail(err, RWF_E_INPUT, "%s: input '%s' matches no file beneath %s", where,
                 recipe_text(node, name), recipe_dir(g->recipe));
        free(where);
        return -1;
    }
    json_array_foreach((json_t *)value, i, path)
        if (json_is_string(path) &&
            plan_add_path(g, json_string_value(path), files, err) < 0)
            return -1;
    return 0;
}

int plan__task_inputs(const struct plan_graph *g, const struct plan_step *step,
                      const json_t *spec, json_t *files, struct rwf_err *err)
{
    const json_t *declared = json_object_get(spec, "inputs");
    const char *item = json_string_value(json_object_get(spec, "item"));
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)declared, name, value)
        if (add_declared(g, step, name, value, files, err) < 0)
            return -1;
    return item ? plan_add_path(g, item, files, err) : 0;
}

int plan_task_inputs(const struct plan_graph *g, const struct plan_step *step,
                     const json_t *spec, json_t *files, struct rwf_err *err)
{
    add_code(g, step, spec, files);
    return plan__task_inputs(g, step, spec, files, err);
}

static int command(const json_t *spec, struct op_command *ret, struct rwf_err *err)
{
    json_t *argv = json_object_get(spec, "argv");
    const char *program = json_string_value(json_array_get(argv, 0));
    const char *dir = json_string_value(json_object_get(spec, "dir"));

    if (!program || !program[0])
        return rwf_fail(err, RWF_E_RECIPE,
                        "the command is empty: argv[0] names the program");
    ret->argv = json_deep_copy(argv);
    ret->env = json_deep_copy(json_object_get(spec, "env"));
    ret->dir = dir ? rwf_xstrdup(dir) : NULL;
    return 0;
}

const struct op plan_task_op = {
    .name = "task",
    .section = "tasks",
    .summary = "a command: argv, or a text for a shell",
    .version = 1,
    .validate = plan_task_validate,
    .lower = lower,
    .outputs = plan_task_outputs,
    .spec = plan_task_spec,
    .inputs = plan_task_inputs,
    .command = command,
};
