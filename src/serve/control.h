/* SPDX-License-Identifier: Apache-2.0
 *
 * The control socket: a line of JSON for each request, lines of JSON back.
 *
 *   {"do":"deploy","app":{spec},"wait":true}   {"progress":0..1,"message":…} …, then the end
 *   {"do":"remove","app":NAME,"timeout":ns}
 *   {"do":"scale","app":NAME,"deployment":NAME?,"replicas":N}
 *   {"do":"status"}
 *   {"do":"down","timeout":ns}
 *   {"do":"events"}                            from now on {"event":…} lines
 *
 * The end is {"ok":true,"data":{…}} or {"ok":false,"code":N,"error":text}. Only processes of
 * the same user are heard.
 */
#ifndef RWF_SERVE_CONTROL_H
#define RWF_SERVE_CONTROL_H
#include <jansson.h>
#include <uv.h>
#include "base/err.h"

struct serve_server;
struct serve_control;

struct serve_control *serve_control_open(struct serve_server *s, uv_loop_t *loop,
                                         const char *path, struct rwf_err *err);
/* Handles are closed by the loop; what was told is still sent. NULL is fine. */
void serve_control_close(struct serve_control *c);
/* To all that asked for events. Borrowed. */
void serve_control_event(struct serve_control *c, const json_t *event);

#endif
