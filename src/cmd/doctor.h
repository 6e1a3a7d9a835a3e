/* SPDX-License-Identifier: Apache-2.0
 *
 * What a doctor finds: rows of a table, each a name and a function that looks. Those of
 * this machine are in doctor.c and doctor_rows.c; doctor_nodes.c compares the machines
 * of a cluster.
 */
#ifndef RWF_CMD_DOCTOR_H
#define RWF_CMD_DOCTOR_H
#include "base/str.h"
#include "cluster/cluster.h"
#include "cmd/cmd.h"

enum doctor_level { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_BAD };

struct doctor_finding {
    enum doctor_level level;
    struct rwf_str text;
    const char *hint; /* what to do; NULL: nothing */
};

void doctor_set(struct doctor_finding *f, enum doctor_level level, const char *hint);

/* --- doctor_rows.c --- */
void doctor_look_digest(struct doctor_finding *f);
void doctor_look_system(struct doctor_finding *f);
void doctor_look_host(struct doctor_finding *f);
void doctor_look_network(struct doctor_finding *f);
void doctor_look_mpi(struct doctor_finding *f);
void doctor_look_nccl(struct doctor_finding *f);
void doctor_look_peers(struct doctor_finding *f); /* of GPUs */
/* names: "gpu1,gpu2": do they have an address here? */
void doctor_look_names(struct doctor_finding *f, const char *names);

/* --- doctor_nodes.c --- */
/* Asks all nodes of the head at address and shows what differs. Returns an exit code,
 * or -1 with *err. */
int doctor_nodes(struct cmd_call *call, const char *address, const char *key,
                 struct rwf_err *err);

void doctor_print(const char *name, enum doctor_level level, const char *text,
                  const char *hint, bool color);

#endif
