/* SPDX-License-Identifier: Apache-2.0
 *
 * A head and a node, or one of them, on a loop of their own, until they are told to
 * end: `raywf session` and `raywf start`.
 */
#ifndef RWF_CMD_RUNTIME_H
#define RWF_CMD_RUNTIME_H
#include "cmd/cmd.h"
#include "node/node.h"

struct cmd_runtime_options {
    const struct node_options *node; /* NULL: no node */
    bool head;
    const char *head_folder; /* its journal and key; NULL: it keeps nothing */
    const char *listen;      /* of the head: HOST:PORT; NULL: no TCP */
    const char *connect;     /* of a node without a head here: the head's host */
    int port;
    const uint8_t *key;
    int64_t orphan; /* ends when the head is away for so long, ns; 0: never */
    int64_t idle;   /* of a head: all ends when nobody uses it for so long; 0: never */
    int64_t drain;  /* told to end, what runs on the node may go on for so long */
    size_t jobs;    /* of a head that listens: so many jobs run at once; 0: JOB_MOST */
    int driver; /* descriptor of a socket: ends with who is on it; -1: none */
    /* All of it is there. */
    int (*ready)(void *ctx, const char *address, int port, struct rwf_err *err);
    void *ctx;
};

int cmd_runtime_run(const struct cmd_runtime_options *o, struct rwf_err *err);

/* A size in bytes, plain or with a unit; 0 when it is not given. */
int cmd_runtime_size(const struct cmd_call *call, const char *name, int64_t *ret,
                     struct rwf_err *err);
/* --cpu and the like of the command, over what this machine has. */
int cmd_runtime_machine(const struct cmd_call *call, struct schedule_machine *m,
                        struct rwf_err *err);

#endif
