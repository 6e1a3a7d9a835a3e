/* SPDX-License-Identifier: Apache-2.0
 *
 * For params*.c alone.
 */
#ifndef RWF_TRAIN_PARAMS_IMPL_H
#define RWF_TRAIN_PARAMS_IMPL_H
#include "train/params.h"

enum { PARAMS_ALIGN = 64 }; /* elements */

struct params_unit {
    int64_t count;  /* padded; the whole unit */
    int64_t part;   /* of it what this rank updates */
    int64_t first;  /* where that part begins */
    bool frozen;
    char *weights;  /* [count] of the run's type; full: NULL */
    char *own;      /* [part] of the run's type; frozen units that are not divided: NULL */
    float *master;  /* [part]; float runs: own; frozen: NULL */
    float *grads;   /* [count]; full and frozen: NULL */
    float *grad;    /* [part]; frozen: NULL */
    float *m, *v;   /* [part]; NULL without */
    int64_t at;     /* of the unit in the arrays of the host's snapshot, elements */
};

/* Neighbours that are updated alike, by one call. */
struct params_span {
    float *master, *grad, *m, *v;
    void *copy;
    int64_t count;
    float decay;
};

/* A buffer for a unit that is gathered (weights) or not yet scattered (gradients). */
struct params_slot {
    void *memory;
    int64_t capacity; /* elements */
    int unit;         /* -1: none */
    int users;        /* between weights and release; gradients: 1 until done */
    bool moving;      /* a gather or scatter that was not waited for */
    uint64_t used;    /* when, for taking the one that was used longest ago */
    bool own_block;   /* memory is a block of its own */
};

struct params_slots {
    struct params_slot *slots;
    size_t count, cap;
};

struct params {
    struct params_options o;
    struct model_store store;
    const struct kernels *k;
    struct kernel_context *c;
    struct params_unit *units;
    size_t unit_count;
    int64_t total, trained; /* elements of all and of the trained units */
    int64_t largest;        /* unit */
    void *block, *unused;
    float *squares, *scale, *extra;

    struct params_span *spans;
    size_t span_count, span_cap;

    /* The step. */
    int pass;
    int cursor;        /* none, optimizer: units above it were sent */
    bool *done;        /* by unit: all gradients of the step are there */
    bool gathering;    /* optimizer: weights are on their way */
    bool stale;        /* the gradients are still those of the step before */
    float *grads_base; /* all of this rank's gradients … */
    int64_t grads_count;

    /* full */
    struct params_slots weights, grads;
    int last_unit;
    uint64_t clock;

    /* snapshots */
    struct params_snapshot *snapshot;
    char finding[256];
};

/* Elements of a unit's part, and so on, for each kind of tensor that is kept. */
enum params_kind { PARAMS_WEIGHTS, PARAMS_MASTER, PARAMS_M, PARAMS_V, PARAMS_KINDS };

/* params_full.c */
int params__full_create(struct params *p, struct rwf_err *err);
void params__full_destroy(struct params *p);
void params__full_rows(struct params *p, int64_t capacities[3]);
void params__full_forget(struct params *p);
void params__full_finish(struct params *p);
extern const struct model_store params__full_store;

/* params_step.c */
extern const struct model_store params__whole_store;
void params__make_spans(struct params *p);
/* Waits for weights that are still gathered from other ranks. */
int params__arrive(struct params *p, struct rwf_err *err);

/* params_save.c */
void params__snapshot_free(struct params *p);

static inline size_t params__size(const struct params *p)
{
    return kernel_size(p->o.type);
}
/* A bf16 run keeps a float master beside the weights. */
static inline bool params__has_master(const struct params *p)
{
    return p->o.type != KERNEL_F32;
}
static inline bool params__divided(const struct params *p)
{
    return p->o.comm->size > 1;
}
static inline void params__alive(const struct params *p)
{
    if (p->o.alive != NULL)
        p->o.alive(p->o.alive_ctx);
}

#endif
