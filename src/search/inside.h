/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a search: search.c has its life, its trials and its end, judge.c what
 * follows from reports.
 */
#ifndef RWF_SEARCH_INSIDE_H
#define RWF_SEARCH_INSIDE_H
#include "base/str.h"
#include "search/search.h"
#include "tune/sampler.h"
#include "tune/scheduler.h"
#include "tune/space.h"

enum search__unit { UNIT_REPORT, UNIT_STEP, UNIT_EPOCH }; /* of time_attr */

struct search__trial {
    enum search_status status;
    json_t *config;
    struct search_result result;
    double *steps; /* of its reports, growing: their number is the time */
    size_t count, cap;
    int64_t source; /* whose steps it goes on from, with its next report; -1: its own */
    int64_t reports; /* of this attempt */
    bool stepped;    /* one had a step */
    bool at_max;     /* stopped because it is long enough */
    bool ending;     /* STOP or FAIL was decided */
};

struct search {
    struct tune_space *space;
    struct tune_sampler *sampler;
    struct tune_scheduler *scheduler;
    json_t *rules, *stop, *scheduler_spec;
    char *metric;
    bool maximize, late, clones, may_stop;
    enum search__unit unit;
    int64_t time_budget, max_failed, length; /* max_failed -1: no limit */
    uint64_t seed;
    struct search__trial *trials;
    uint32_t total, begun;
    int64_t best; /* of those that ended well; -1: none */
    size_t counts[SEARCH_STATUS_COUNT];
    char *over;
    bool failed;
    struct search_action *queue;
    size_t head, count, cap;
};

/* search.c */
bool search__is_open(const struct search__trial *t);
void search__set_status(struct search *s, struct search__trial *t,
                        enum search_status status);
/* What is to be done, at the end of the queue; the text says why. */
struct search_action *search__push(struct search *s, enum search_verb verb,
                                   uint32_t trial, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* judge.c */
/* Ends the search if these metrics reach what `stop` says. */
void search__check_stop(struct search *s, uint32_t trial, const json_t *metrics);
/* The names of the metrics in it, for people. */
void search__add_names(struct rwf_str *out, const json_t *metrics);

#endif
