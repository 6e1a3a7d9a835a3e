/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of progress: progress.c takes events and writes lines, progress_draw.c
 * draws what is live on a terminal.
 */
#ifndef RWF_VIEW_PROGRESS_INSIDE_H
#define RWF_VIEW_PROGRESS_INSIDE_H
#include "base/str.h"
#include "view/live.h"
#include "view/progress.h"
#include "view/search.h"

struct running {
    char *address;
    int64_t started, told; /* monotonic */
    double progress;       /* -1: unknown */
    double from;   /* … when this pass began, at began: an attempt may go on from */
    int64_t began; /* the middle, and a step may have several passes */
    int64_t rows, bytes; /* -1: unknown */
    int attempt;
    bool waits; /* for its next attempt */
    char *note; /* metrics, or what it says */
    json_t
        *metrics; /* the newest of each: an evaluation does not come with each step */
};

struct view_progress {
    struct view_progress_options o;
    struct view_live *live;
    char *run_id;
    int64_t started;
    size_t total, ended, good, cached, failed;
    struct running *running;
    size_t count, cap;
    struct view_searches *searches;
    bool stopping;
    struct rwf_str plain; /* lines of plain mode, written after each event */
};

/* What is known of a step that runs: " 42 %  12 k rows  3.1 MB/s" … */
void view__progress_facts(struct rwf_str *out, const struct running *r, int64_t now);
bool view__progress_is_trial(const struct view_progress *p, const char *address);
/* view_live's. */
void view__progress_draw(void *progress, struct rwf_str *out, int rows, int width);

#endif
