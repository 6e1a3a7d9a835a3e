/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines at the bottom of a terminal that are redrawn ten times a second by a thread of
 * their own, with finished lines scrolling away above them. The terminal is written to
 * without the lock: one that is paused pauses the picture, never the run.
 */
#ifndef RWF_VIEW_LIVE_H
#define RWF_VIEW_LIVE_H
#include "base/str.h"

struct view_live;

/* Adds the lines to show now, each ended by \n; they are cut to width. Called under the
 * lock. */
typedef void (*view_draw_fn)(void *ctx, struct rwf_str *out, int rows, int width);

struct view_live *view_live_create(int fd, view_draw_fn draw, void *ctx);
/* Draws a last time without the live lines, and gives the terminal back. */
void view_live_destroy(struct view_live *live);
/* Whatever draw reads is changed between these two. */
void view_live_lock(struct view_live *live);
void view_live_unlock(struct view_live *live);
/* Lines for above, under the lock. */
struct rwf_str *view_live_above(struct view_live *live);

#endif
