/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading, in this order: the file and what it includes, the profile, --set, the
 * schema, the version it requires, parameters. A snapshot is the same with every text,
 * variable and file name taken from it; what it holds is exactly what was read the
 * first time.
 */
#include "config.h"

#include "recipe/recipe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "recipe/load.h"
#include "recipe/schema.h"
#include "recipe/schema_check.h"

#define BOM "\xef\xbb\xbf"

static struct recipe *create(struct recipe_diags *diags)
{
    struct recipe *r = rwf_xcalloc(1, sizeof(*r));
    r->reader.arena = rwf_arena_create();
    r->reader.sources = recipe__sources_create();
    r->reader.diags = diags;
    r->files = json_array();
    r->given = json_object();
    r->env = json_object();
    r->globs = json_object();
    r->params = rwf_map_create();
    r->secrets = rwf_map_create();
    return r;
}

static void wipe(void *value)
{
    explicit_bzero(value, strlen(value));
    free(value);
}

void recipe_destroy(struct recipe *r)
{
    if (r == NULL)
        return;
    rwf_map_destroy(r->secrets, wipe);
    rwf_map_destroy(r->params, NULL);
    json_decref(r->frozen);
    json_decref(r->globs);
    json_decref(r->env);
    json_decref(r->given);
    json_decref(r->files);
    recipe__sources_destroy(r->reader.sources);
    rwf_arena_destroy(r->reader.arena);
    free(r->path);
    free(r->dir);
    free(r->name);
    free(r);
}

/* --- files --- */

static char *read_disk(const char *path, const char *shown, size_t *len,
                       struct rwf_err *err)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        rwf_fail(err, errno, "%s: %s", shown, strerror(errno));
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        rwf_fail(err, EINVAL, "%s is not a regular file", shown);
        return NULL;
    }
    return rwf_fs_read(path, RECIPE_FILE_MAX, len, err);
}

static const json_t *frozen_file(const struct recipe *r, const char *path)
{
    size_t i;
    json_t *file;
    json_array_foreach(json_object_get(r->frozen, "files"), i, file) {
        const char *its = json_string_value(json_object_get(file, "path"));
        if (its != NULL && strcmp(its, path) == 0)
            return file;
    }
    return NULL;
}

/* Keeps text as a source and in the list of files; takes it. */
static uint32_t keep_text(struct recipe *r, const char *path, const char *shown,
                          char *text, size_t len, const char *sha256)
{
    if (rwf_starts_with(text, BOM)) {
        len -= strlen(BOM);
        memmove(text, text + strlen(BOM), len + 1);
    }
    json_t *file = json_object();
    json_object_set_new(file, "path", json_string_nocheck(path));
    json_object_set_new(file, "shown", json_string_nocheck(shown));
    json_object_set_new(file, "sha256", json_string(sha256));
    json_object_set_new(file, "text", json_stringn_nocheck(text, len));
    json_array_append_new(r->files, file);
    return recipe__sources_add(r->reader.sources, shown, path, text, len);
}

int recipe__file_read(struct recipe *r, const char *path, const char *shown,
                      uint32_t *ret_file, char ret_sha256[], struct rwf_err *err)
{
    size_t len = 0;
    char *text;
    if (r->frozen != NULL) {
        const json_t *file = frozen_file(r, path);
        const json_t *content = json_object_get(file, "text");
        const char *sum = json_string_value(json_object_get(file, "sha256"));
        if (!json_is_string(content) || sum == NULL)
            return rwf_fail(err, ENOENT, "%s is not in the snapshot", shown);
        len = json_string_length(content);
        text = rwf_xmalloc(len + 1);
        memcpy(text, json_string_value(content), len + 1);
        snprintf(ret_sha256, RWF_DIGEST_LEN, "%s", sum);
    } else {
        text = read_disk(path, shown, &len, err);
        if (text == NULL)
            return -1;
        rwf_digest_bytes(text, len, ret_sha256);
    }
    *ret_file = keep_text(r, path, shown, text, len, ret_sha256);
    return 0;
}

/* The main file may also be a pipe. -1: *err, or reported when it is too large. */
static int read_main(struct recipe *r, const char *path, uint32_t *ret_file,
                     struct rwf_err *err)
{
    char sha256[RWF_DIGEST_LEN];
    struct rwf_err why = RWF_ERR_INIT;
    size_t len = 0;
    char *text = rwf_fs_read(path, RECIPE_FILE_MAX, &len, &why);
    if (text != NULL) {
        char *absolute = strcmp(path, "-") == 0 ? rwf_fs_join(r->dir, "<stdin>")
                                                : rwf_fs_absolute(path);
        rwf_digest_bytes(text, len, sha256);
        *ret_file = keep_text(r, absolute, r->path, text, len, sha256);
        free(absolute);
        return 0;
    }
    if (why.code != EFBIG)
        return rwf_fail(err, RWF_E_INPUT, "cannot read the recipe: %s", why.text);
    struct recipe_span nowhere = {
        .file = recipe__sources_add(r->reader.sources, r->path, NULL, NULL, 0),
    };
    recipe_diag_hint(recipe_diag_add(r->reader.diags, RECIPE_E0003, nowhere,
                                     "the recipe is larger than 1 MiB"),
                     "move data into files that steps read");
    r->unreadable = true;
    return 0;
}

/* --- values of the command line --- */

struct recipe_node *recipe__given_value(struct recipe *r, const char *what,
                                        const char *name, const char *value, bool yaml)
{
    char *shown = rwf_xasprintf("%s %s", what, name);
    uint32_t file = recipe__sources_add(r->reader.sources, shown, NULL,
                                        rwf_xstrdup(value), strlen(value));
    struct recipe_span span = {.file = file};
    struct recipe_node *node;
    free(shown);
    if (yaml && value[strspn(value, " ")] != '\0')
        return recipe__yaml_read(&r->reader, file);
    node = recipe_scalar_new(r->reader.arena, value, RECIPE_UNTYPED, span);
    node->plain = !yaml;
    return node;
}

static json_t *settings_json(const struct recipe_setting *settings, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array,
                              json_pack("[o, o]", json_string_nocheck(settings[i].name),
                                        json_string_nocheck(settings[i].value)));
    return array;
}

static void take_options(struct recipe *r, const struct recipe_options *o)
{
    if (o == NULL)
        return;
    if (o->snapshot != NULL) {
        json_object_update_missing(r->given, json_object_get(o->snapshot, "given"));
        return;
    }
    if (o->profile != NULL)
        json_object_set_new(r->given, "profile", json_string_nocheck(o->profile));
    json_object_set_new(r->given, "params", settings_json(o->params, o->param_count));
    json_object_set_new(r->given, "sets", settings_json(o->sets, o->set_count));
}

static void apply_given(struct recipe *r)
{
    const char *profile = json_string_value(json_object_get(r->given, "profile"));
    size_t i;
    json_t *set;
    if (profile != NULL)
        recipe__profile_apply(r, profile);
    json_array_foreach(json_object_get(r->given, "sets"), i, set)
        recipe__set_apply(r, json_string_value(json_array_get(set, 0)),
                          json_string_value(json_array_get(set, 1)));
}

/* --- requires --- */

/* major.minor.patch as one number; missing parts are 0. */
static unsigned long version_number(const char *text)
{
    unsigned part[3] = {0, 0, 0};
    sscanf(text, "%9u.%9u.%9u", &part[0], &part[1], &part[2]);
    return (part[0] * 1000000ul + part[1]) * 1000000ul + part[2];
}

static void check_requires(struct recipe *r)
{
    const struct recipe_node *floor = recipe_at(r->root, "requires.raywf");
    if (floor == NULL || floor->kind != RECIPE_SCALAR ||
        !rwf_starts_with(floor->text, ">="))
        return; /* absent, or the schema says what is wrong with it */
    if (version_number(floor->text + 2) <= version_number(PACKAGE_VERSION))
        return;
    recipe_diag_hint(recipe_diag_add(r->reader.diags, RECIPE_E0112, floor->span,
                                     "the recipe needs raywf %s, this is %s",
                                     floor->text + 2, PACKAGE_VERSION),
                     "update raywf");
}

/* --- the whole --- */

static void find_name(struct recipe *r)
{
    const struct recipe_node *name = recipe_get(r->root, "name");
    if (name != NULL && name->kind == RECIPE_SCALAR && name->len > 0) {
        r->name = rwf_xstrdup(name->text);
        return;
    }
    const char *base =
        strcmp(r->path, "<stdin>") == 0 ? "stdin" : rwf_fs_basename(r->path);
    const char *dot = strrchr(base, '.');
    r->name = rwf_xstrndup(base, dot == NULL || dot == base ? strlen(base)
                                                            : (size_t)(dot - base));
}

static void build(struct recipe *r, uint32_t file)
{
    if (!r->unreadable)
        r->root = recipe__include_all(r, file);
    if (r->root != NULL && !r->unreadable) {
        apply_given(r);
        recipe__schema_check(r->root, r->reader.diags, r->incomplete);
        check_requires(r);
        recipe__params_resolve(r);
    }
    if (r->root == NULL)
        r->root = recipe_node_new(r->reader.arena, RECIPE_MAP,
                                  (struct recipe_span){.file = file});
    find_name(r);
    r->reader.diags = NULL;
}

static int open_main(struct recipe *r, const char *path, uint32_t *ret_file,
                     struct rwf_err *err)
{
    bool standard_input = strcmp(path, "-") == 0;
    char *absolute = rwf_fs_absolute(standard_input ? "stdin" : path);
    r->path = rwf_xstrdup(standard_input ? "<stdin>" : path);
    r->dir = rwf_fs_dirname(absolute);
    free(absolute);
    return read_main(r, path, ret_file, err);
}

static int open_snapshot(struct recipe *r, const json_t *snapshot, uint32_t *ret_file,
                         struct rwf_err *err)
{
    char sha256[RWF_DIGEST_LEN];
    json_t *main_file = json_array_get(json_object_get(snapshot, "files"), 0);
    const char *path = json_string_value(json_object_get(main_file, "path"));
    const char *shown = json_string_value(json_object_get(snapshot, "path"));
    const char *dir = json_string_value(json_object_get(snapshot, "dir"));
    if (path == NULL || shown == NULL || dir == NULL)
        return rwf_fail(err, RWF_E_INPUT, "this is not the snapshot of a recipe");
    r->frozen = json_deep_copy(snapshot);
    r->path = rwf_xstrdup(shown);
    r->dir = rwf_xstrdup(dir);
    return recipe__file_read(r, path, shown, ret_file, sha256, err);
}

struct recipe *recipe_load(const char *path, const struct recipe_options *options,
                           struct recipe_diags *diags, struct rwf_err *err)
{
    struct recipe *r = create(diags);
    const json_t *snapshot = options == NULL ? NULL : options->snapshot;
    uint32_t file = 0;
    int rc = snapshot == NULL ? open_main(r, path, &file, err)
                              : open_snapshot(r, snapshot, &file, err);
    if (rc < 0) {
        recipe_destroy(r);
        return NULL;
    }
    take_options(r, options);
    build(r, file);
    return r;
}

json_t *recipe_snapshot(const struct recipe *r)
{
    return json_pack("{s:i, s:o, s:o, s:O, s:O, s:O, s:O}", "v", 1, "path",
                     json_string_nocheck(r->path), "dir", json_string_nocheck(r->dir),
                     "files", r->files, "given", r->given, "env", r->env, "globs",
                     r->globs);
}

const struct recipe_node *recipe_root(const struct recipe *r)
{
    return r->root;
}

const char *recipe_name(const struct recipe *r)
{
    return r->name;
}

const char *recipe_dir(const struct recipe *r)
{
    return r->dir;
}

const char *recipe_path(const struct recipe *r)
{
    return r->path;
}

const struct recipe_sources *recipe_sources(const struct recipe *r)
{
    return r->reader.sources;
}

struct rwf_arena *recipe_arena(const struct recipe *r)
{
    return r->reader.arena;
}
