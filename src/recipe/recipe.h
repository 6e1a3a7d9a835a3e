/* SPDX-License-Identifier: Apache-2.0
 *
 * A recipe, loaded: read, included, overlaid with its profile and the command line's
 * values, checked against the schema and its references. Immutable.
 *
 * All problems are collected in diags; a recipe with errors is still returned (so that
 * tools can show it) but must not be planned.
 */
#ifndef RWF_RECIPE_RECIPE_H
#define RWF_RECIPE_RECIPE_H
#include <jansson.h>
#include "base/err.h"
#include "recipe/diag.h"
#include "recipe/node.h"

struct recipe;

/* A "NAME=VALUE" from the command line. */
struct recipe_setting {
    const char *name;
    const char *value;
};

struct recipe_options {
    const char *profile;                 /* or NULL */
    const struct recipe_setting *params; /* --param lr=3e-4 */
    size_t param_count;
    const struct recipe_setting *sets; /* --set tasks.train.retry.max=2 */
    size_t set_count;
    /* A snapshot from recipe_snapshot(): files, environment and globs come from it and
     * not from the disk. The other options must then be absent. Or NULL. */
    const json_t *snapshot;
};

/* Loads path ("-": standard input). NULL and *err only when nothing could be read at
 * all; everything wrong inside is in diags. Secrets are named, not yet read. */
struct recipe *recipe_load(const char *path, const struct recipe_options *options,
                           struct recipe_diags *diags, struct rwf_err *err);
void recipe_destroy(struct recipe *r);

/* The merged tree, annotated with types. Never NULL. */
const struct recipe_node *recipe_root(const struct recipe *r);
/* recipe.name: the name key, or the file's stem. */
const char *recipe_name(const struct recipe *r);
/* Absolute folder of the main file: relative paths in a recipe start there. */
const char *recipe_dir(const struct recipe *r);
/* Path of the main file as given. */
const char *recipe_path(const struct recipe *r);
const struct recipe_sources *recipe_sources(const struct recipe *r);
/* The arena that lives as long as the recipe. */
struct rwf_arena *recipe_arena(const struct recipe *r);

/* The value of a declared parameter: from --param, else the profile's, else its
 * default; its type is the declared one (RECIPE_TEXT, INT, NUMBER, BOOL, SIZE,
 * DURATION), checked unless the text holds ${...}. NULL when there is no such parameter
 * or it has no value (both are then in diags). */
const struct recipe_node *recipe_param(const struct recipe *r, const char *name);
/* Names of the declared parameters, in order; NULL after the last. */
const char *recipe_param_at(const struct recipe *r, size_t i);

/* Files, texts, profile, params, sets, the environment variables and globs that
 * were looked up: enough to load the very same recipe again. Caller decrefs. Call it
 * after planning, when all look-ups are done. */
json_t *recipe_snapshot(const struct recipe *r);

/* Look-ups that a snapshot freezes. NULL when the variable is not set. */
const char *recipe_getenv(const struct recipe *r, const char *name);
/* Sorted paths, relative to recipe_dir, that match a glob(7) pattern ("**" is not
 * special); a JSON array of strings, borrowed. */
const json_t *recipe_glob(const struct recipe *r, const char *pattern);

/* Reads every secret the recipe declares (env, file, command), adds it to the
 * redaction set, and keeps its value for recipe_secret(). */
int recipe_secrets_read(struct recipe *r, struct rwf_err *err);
/* The value, or NULL when it was not read. */
const char *recipe_secret(const struct recipe *r, const char *name);

/* --- sources --- */
const char *recipe_file_path(const struct recipe_sources *s, uint32_t file);
/* Line (1-based) without its newline; *ret_len its bytes. NULL when there is none. */
const char *recipe_source_line(const struct recipe_sources *s, uint32_t file,
                               uint32_t line, size_t *ret_len);
/* "path:line:col" for messages; the caller's to free. */
char *recipe_where(const struct recipe_sources *s, struct recipe_span span);

#endif
