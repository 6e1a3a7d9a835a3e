/* SPDX-License-Identifier: Apache-2.0
 *
 * The actor behind a replica: placed by the runtime with the deployment's resources.
 */
#ifndef RWF_SERVE_REPLICA_ACTOR_H
#define RWF_SERVE_REPLICA_ACTOR_H
#include <uv.h>
#include "native/client.h"
#include "serve/replica.h"

/* Creates one beside the loop, as the runtime is asked and takes its time: d is held
 * until then. class_ NULL: the plain functions of plugin. args: `n` texts, taken over;
 * files: RAYWF_FILES for it, taken over, or NULL.
 * env: whether the deployment's is the worker's, too. done is called once, on the loop:
 * with the actor, or NULL and what is wrong. */
void serve__actor_create(uv_loop_t *loop, const struct serve_deployment *d,
                         const char *plugin, const char *class_, bool env,
                         char *const *args, size_t n, char *files,
                         void (*done)(void *ctx, struct raywf_actor *a,
                                      const struct rwf_err *err),
                         void *ctx);
/* No restart; the handle is given back. kindly: after the calls that were made. NULL is
 * fine. */
void serve__actor_end(struct raywf_actor *a, bool kindly);
/* The reason alone, without "actor NAME is dead:". */
const char *serve__actor_reason(const char *text);

#endif
