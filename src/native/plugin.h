/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin as a worker sees it: the shared object, loaded once and for ever, and its
 * tables. Whatever is wrong with it is RAYWF_E_PLUGIN and a text that names the file,
 * what is the matter, and what to do.
 */
#ifndef RWF_NATIVE_PLUGIN_H
#define RWF_NATIVE_PLUGIN_H
#include "base/err.h"
#include "native/raywf.h"

struct native_plugin;

/* path as dlopen takes it: with a '/' a file, without one looked for. */
struct native_plugin *native_plugin_open(const char *path, struct rwf_err *err);
/* Forgets it; the shared object stays loaded (its threads may run). */
void native_plugin_free(struct native_plugin *p);
const char *native_plugin_path(const struct native_plugin *p);

/* A plugin that is part of this program, opened as "raywf:NAME". */
struct native_builtin {
    const char *name; /* NULL ends a table */
    const struct raywf_plugin *plugin;
};
/* Before a worker runs: what there is. Borrowed. */
void native_plugin_builtins(const struct native_builtin *table);

raywf_fn native_plugin_function(const struct native_plugin *p, const char *name,
                                struct rwf_err *err);
const struct raywf_class *native_plugin_class(const struct native_plugin *p,
                                              const char *name, struct rwf_err *err);
raywf_fn native_plugin_method(const struct native_plugin *p,
                              const struct raywf_class *c, const char *name,
                              struct rwf_err *err);

#endif
