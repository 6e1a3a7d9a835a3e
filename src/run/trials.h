/* SPDX-License-Identifier: Apache-2.0
 *
 * Searches in the engine: trials are steps whose configuration is chosen when they are
 * prepared, and which their search may end, hold, or send on from another's checkpoint.
 *
 *   trials.c      what happens to trials      trials_act.c     doing what was decided
 *   trials_key.c  keys and cached results     trials_end.c     the step after all
 * trials trials_copy.c checkpoints of others       trials_replay.c  all of it from the
 * event log
 */
#ifndef RWF_RUN_TRIALS_H
#define RWF_RUN_TRIALS_H
#include "run/internal.h"
#include "search/search.h"

struct engine__search {
    struct engine *e;
    const struct plan_step *step;
    struct search *s;
    json_t *body;
    struct engine__trial *trials; /* by number */
    uint32_t count;
    bool looked; /* for the record of an earlier run */
    char key[RWF_DIGEST_LEN];
    json_t *parts;
    json_t *record; /* trials by number, or NULL */
    uv_timer_t *budget;
    int64_t spent;       /* ns, by earlier processes of this run */
    uint32_t first_open; /* all trials before it are over */
    bool told_over;
    bool begun;  /* a trial has */
    bool worked; /* a trial was not in the cache */
    LIST_ENTRY(engine__search) link;
};

struct engine__trial {
    struct engine__search *search;
    const struct plan_step *step;
    uint32_t number;
    enum engine__ending decided; /* and not done yet */
    char *why;
    bool hit_stopped; /* the cached result looked for is that of a stopped trial */
    bool quiet; /* replay: what an attempt that is being ended reports does not count */
    json_t *first;      /* its first configuration; NULL: none yet */
    bool held;          /* paused, in the schedule */
    bool resume;        /* it shall go on as soon as its attempt has ended */
    int64_t clone_from; /* -1: none is due */
    json_t *lineage;    /* what it went on from; NULL: nothing */
    json_t *outputs, *metrics, *parts; /* kept when it was paused */
    char key[RWF_DIGEST_LEN];          /* of its result, or "" */
};

/* trials.c */
struct engine__trial *engine__trial_of(const struct engine *e, uint32_t step);
/* The folder that the attempts of a trial share; the caller's to free. */
char *engine__trial_dir(const struct engine__trial *t);
/* A trial that is stopped while it does not run. */
void engine__trial_finish(struct engine__trial *t);
void engine__search_budget(struct engine__search *x);
void engine__trial_note_clone(struct engine__trial *t, uint32_t from, double at,
                              const json_t *config);
void engine__trial_note_key(struct engine__trial *t, const char *key);

/* trials_act.c */
/* Does what the search has decided. */
void engine__search_act(struct engine__search *x);
/* A clone that is due: the other's folder, the new configuration. */
void engine__trial_apply_clone(struct engine__trial *t);

/* trials_copy.c */
/* Copies a folder with all beneath it; to must not exist. */
int run__copy_tree(const char *from, const char *to, struct rwf_err *err);

/* trials_key.c */
/* Looks once for what an earlier run made of the same search. */
void engine__search_look(struct engine__search *x);
/* The configuration of that run, new, or NULL. */
json_t *engine__search_recorded(const struct engine__search *x, uint32_t number);
/* The key of a result that is not that of the configuration alone. parts: new. */
json_t *engine__trial_variant(const struct engine__trial *t, const json_t *parts,
                              bool stopped, char key[RWF_DIGEST_LEN]);
json_t *engine__search_record(struct engine__search *x);

#endif
