/* SPDX-License-Identifier: Apache-2.0
 *
 * What tasks and actors need alike: their needs as they go to the node; cancelling.
 */
#ifndef RWF_NATIVE_CALLS_H
#define RWF_NATIVE_CALLS_H
#include "native/internal.h"

/* All the caller's, freed by protobuf_c_message_free_unpacked of what they lie in. */
Wire__Resources *native__resources(const struct raywf_resources *r);
char **native__env(const char *const *env, size_t *ret_count);
char *native__plugin_path(const char *plugin);

void native__handles_free(struct native__client *c);

#endif
