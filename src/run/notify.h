/* SPDX-License-Identifier: Apache-2.0
 *
 * Webhooks at the end of a run. They never change how the run ended; each try is told
 * in the log as an event.
 */
#ifndef RWF_RUN_NOTIFY_H
#define RWF_RUN_NOTIFY_H
#include <jansson.h>
#include "recipe/recipe.h"
#include "run/log.h"

/* notify: [{"on":[…],"url","template","secret"}], resolved, or NULL. finished: the
 * members of run.finished. */
void run_notify(const json_t *notify, const struct recipe *r, const char *id,
                const json_t *finished, struct run_log *log);

#endif
