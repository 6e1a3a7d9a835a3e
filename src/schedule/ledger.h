/* SPDX-License-Identifier: Apache-2.0
 *
 * What a machine has and what of it is free. Amounts are whole millionths, so that
 * taking and giving back a thousand fractions ends where it began. A GPU is granted
 * whole to one step, or in fractions to several, never both at once.
 */
#ifndef RWF_SCHEDULE_LEDGER_H
#define RWF_SCHEDULE_LEDGER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"
#include "plan/graph.h"

struct schedule_machine;

#define SCHEDULE__UNIT 1000000LL
#define SCHEDULE__MAX_GPUS 64
#define SCHEDULE__MAX_GRANT 16    /* whole GPUs to one step: schedule_decision.gpus */
#define SCHEDULE__MAX_RUNNING 512 /* steps that ask for nothing are processes, too */

struct schedule__demand {
    int64_t cpu, memory, gpu; /* memory in bytes */
    int64_t *custom;          /* as many as the machine has; NULL: none */
};

struct schedule__ledger {
    int64_t cpu, cpu_free;
    int64_t memory, memory_free;
    int64_t gpu_free[SCHEDULE__MAX_GPUS];
    int gpu_count, gpu_whole; /* of these wholly free */
    int slots;
    char **custom_names;
    int64_t *custom, *custom_free;
    size_t custom_count;
};

void schedule__ledger_init(struct schedule__ledger *l,
                           const struct schedule_machine *m);
void schedule__ledger_free(struct schedule__ledger *l);

/* What a policy asks of this machine. Names that the machine lacks are left out:
 * schedule__ledger_never has refused them. */
void schedule__demand_make(const struct schedule__ledger *l,
                           const struct plan_policy *p, struct schedule__demand *ret);
bool schedule__ledger_fits(const struct schedule__ledger *l,
                           const struct schedule__demand *d);
/* Takes what fits; returns the GPUs granted as bits. */
uint64_t schedule__ledger_take(struct schedule__ledger *l,
                               const struct schedule__demand *d);
void schedule__ledger_give(struct schedule__ledger *l, const struct schedule__demand *d,
                           uint64_t gpus);

/* The first resource that policy asks for and that even the empty machine lacks: true,
 * its path in an entry ("resources.memory") in *ret_path and a sentence in *out. */
bool schedule__ledger_never(const struct schedule__ledger *l,
                            const struct plan_policy *p, struct rwf_str *ret_path,
                            struct rwf_str *out);
/* "2 of 4 cpu": what is short now. */
void schedule__ledger_short(const struct schedule__ledger *l,
                            const struct schedule__demand *d, struct rwf_str *out);

#endif
