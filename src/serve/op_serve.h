/* SPDX-License-Identifier: Apache-2.0
 *
 * The op of the section `serve`, in files of their own: what the schema cannot say
 * (op_check*.c), what an entry becomes (op_serve.c), what the step does when it runs
 * (op_deploy.c).
 */
#ifndef RWF_SERVE_OP_SERVE_H
#define RWF_SERVE_OP_SERVE_H
#include "plan/op.h"

extern const struct op op_serve;

void serve_op_validate(const struct recipe *r, const char *name,
                       const struct recipe_node *body, struct recipe_diags *diags);
/* The graph of an entry with deployments: each name is one, each one is called. */
void serve_op_check_graph(const char *name, const struct recipe_node *body,
                          struct recipe_diags *diags);
/* Its address, and those of the entries before it. */
void serve_op_check_route(const struct recipe *r, const char *name,
                          const struct recipe_node *body, struct recipe_diags *diags);
/* Deploys to the server whose control socket is in RAYWF_SERVE_CONTROL. */
int serve_op_deploy(struct op_run *r, struct rwf_err *err);
/* spec's deployments get "content": the digest of what they are made of, as far as it
 * lies in files. */
int serve_op_contents(json_t *spec, struct rwf_err *err);

#endif
