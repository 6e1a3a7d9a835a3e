/* SPDX-License-Identifier: Apache-2.0
 *
 * A search while it runs, without any engine: what happens to trials comes in by calls,
 * what is to be done about it comes out of search_next. The same calls in the same
 * order give the same answers, so a replay of the event log rebuilds it; what is
 * decided then was done already, or is done now.
 *
 *   suggest -> begin -> attempt -> report … -> [stop | pause … resume | clone …] ->
 * ended
 *
 * The value of a trial is the last that it reported.
 */
#ifndef RWF_SEARCH_SEARCH_H
#define RWF_SEARCH_SEARCH_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

enum search_status {
    SEARCH_NEW,
    SEARCH_RUNNING, /* it has a configuration */
    SEARCH_PAUSED,
    SEARCH_COMPLETED, /* ran to its end */
    SEARCH_STOPPED,   /* ended early, and counts with what it reported */
    SEARCH_FAILED,
    SEARCH_SKIPPED, /* the search was over before it began */
    SEARCH_STATUS_COUNT
};
const char *search_status_name(enum search_status status);
/* SEARCH_STATUS_COUNT when name is none. */
enum search_status search_status_parse(const char *name);

enum search_verb {
    SEARCH_STOP,    /* end it; what it has so far is its result */
    SEARCH_PAUSE,   /* end the attempt; it waits, without resources, for RESUME */
    SEARCH_RESUME,  /* a paused trial goes on */
    SEARCH_CLONE,   /* end the attempt; it goes on from another's checkpoint, with
                       `config` */
    SEARCH_PROMOTE, /* it passed a rung: nothing to do */
    SEARCH_FAIL,    /* end it; it has failed */
};

struct search_action {
    enum search_verb verb;
    uint32_t trial;
    uint32_t from;    /* CLONE */
    json_t *config;   /* CLONE: new, the caller's */
    int rung;         /* -1: none */
    double at, value; /* the report behind it: its time and the metric; NaN: none */
    char why[200];
};

struct search_result {
    enum search_status status;
    double value; /* NaN: never reported */
    double at;    /* its time */
    bool cloned;  /* at least once: its result is not that of its configuration alone */
};

struct search;
struct tune_space;

/* body: a tune entry, resolved (durations ns). length: the time at which a trial ends
 * by itself, 0: not known. */
struct search *search_create(const json_t *body, int64_t length, struct rwf_err *err);
void search_destroy(struct search *s);
uint32_t search_total(const struct search *s);
const char *search_metric(const struct search *s);
bool search_maximizes(const struct search *s);
/* What decides about trials beside their configuration: part of keys. Borrowed. */
const json_t *search_rules(const struct search *s);
bool search_may_stop(const struct search *s);
bool search_clones(const struct search *s);         /* pbt */
int64_t search_time_budget(const struct search *s); /* ns, 0: none */
/* A target whose first report need not hold the metric. */
void search_metric_may_come_late(struct search *s);

/* The configuration of a trial that has none yet, new; NULL: the search is over, see
 * search_over. */
json_t *search_suggest(struct search *s, uint32_t trial);
/* It has this configuration, whoever said so. */
int search_begin(struct search *s, uint32_t trial, const json_t *config,
                 struct rwf_err *err);
const json_t *search_config(const struct search *s, uint32_t trial);
/* What is known of it from elsewhere; NaN: nothing. */
void search_set_value(struct search *s, uint32_t trial, double value, double at);
void search_set_config(struct search *s, uint32_t trial, const json_t *config);
/* A trial that failed or was skipped is tried again; nothing for others. */
void search_again(struct search *s, uint32_t trial);
/* A process begins for it. */
void search_attempt(struct search *s, uint32_t trial);
/* It reported: metrics (numbers, or null for what is not finite) and its own step
 * counter, NaN when it has none. */
void search_report(struct search *s, uint32_t trial, const json_t *metrics,
                   double step);
/* What is to be done, until false. room: one more trial could run, so one that waits
 * may go on. */
bool search_next(struct search *s, bool room, struct search_action *ret);
/* It is over. metrics: its last ones, of a trial that ran elsewhere (the cache), else
 * NULL. A completed trial that never reported the metric is a failed one: see
 * search_missing. */
void search_ended(struct search *s, uint32_t trial, enum search_status status,
                  const json_t *metrics);
/* NULL, or what is wrong with a trial that has ended well: "reported no 'x'; it
 * reported: …". The caller's. */
char *search_missing(const struct search *s, uint32_t trial, const json_t *metrics);
/* No trial begins any more, and those that run are stopped (search_next). */
void search_end(struct search *s, const char *why);
/* Why no trial begins any more, or NULL. */
const char *search_over(const struct search *s);
/* True when it is over because too many trials failed. */
bool search_failed(const struct search *s);

struct search_result search_result(const struct search *s, uint32_t trial);
/* The best of the trials that ended well; -1: none. */
int64_t search_best(const struct search *s);
size_t search_count(const struct search *s, enum search_status status);

/* The space. Borrowed. */
const struct tune_space *search_space(const struct search *s);
/* tune_scheduler_preview's; new. */
json_t *search_preview(const struct search *s, struct rwf_err *err);

#endif
