/* SPDX-License-Identifier: Apache-2.0
 *
 * The server of a run that has service steps: one process, `raywf serve-front`, started
 * with the first of them. It is a client of the run's native runtime, so that replicas
 * are placed like anything else; service steps talk to it through its control socket.
 *
 *   STARTING -> UP -> (died) WAITING -> STARTING …
 *                \-> ENDING (TERM: it drains) -> GONE
 *
 * What the server decides comes back as events, which the run's log keeps. An update
 * deploys to the server of another run: there is no process then, only its events.
 */
#ifndef RWF_RUN_SERVICE_H
#define RWF_RUN_SERVICE_H
#include <jansson.h>
#include <stdbool.h>
#include "base/err.h"

struct engine;

/* Before anything runs: RWF_E_FIT when what is served leaves too little for the rest. */
int engine__service_fits(struct engine *e, struct rwf_err *err);
/* For a service step: 1 when the server listens, 0 when not yet (it is started), -1. */
int engine__service_wanted(struct engine *e, struct rwf_err *err);
/* Adds where its control socket is. */
void engine__service_env(const struct engine *e, json_t *env);
/* All steps are done: true while the run is to stay for what it serves. */
bool engine__service_stays(struct engine *e);
/* A stop was asked for while it stayed: true, and it is on its way. */
bool engine__service_leave(struct engine *e, const char *reason);
/* True when there is none (any more); else it is being drained, and the loop goes on. */
bool engine__service_gone(struct engine *e);
/* Without draining. */
void engine__service_kill(struct engine *e);
/* After the loop was closed. */
void engine__service_free(struct engine *e);

#endif
