/* SPDX-License-Identifier: Apache-2.0
 *
 * The plugins that are part of this program: raywf:model and raywf:program. Who runs
 * workers gives their table to native_plugin_builtins.
 */
#ifndef RWF_SERVE_CLASS_BUILTIN_H
#define RWF_SERVE_CLASS_BUILTIN_H
#include "native/plugin.h"

extern const struct native_builtin serve_builtins[];

#endif
