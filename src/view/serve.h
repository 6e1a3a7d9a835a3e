/* SPDX-License-Identifier: Apache-2.0
 *
 * What the server of a run decides, in words.
 */
#ifndef RWF_VIEW_SERVE_H
#define RWF_VIEW_SERVE_H
#include <jansson.h>
#include <stdbool.h>
#include "base/str.h"
#include "run/log.h"
#include "schedule/state.h"

/* One line about a serve.… event, and the state whose mark goes before it. false: nothing
 * that people want to be told. */
bool view_serve_words(enum run_event type, const json_t *event,
                      enum schedule_state *ret_looks, struct rwf_str *out);

#endif
