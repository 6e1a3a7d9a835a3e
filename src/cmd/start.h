/* SPDX-License-Identifier: Apache-2.0
 *
 * What `raywf start` was asked for; start_set.c reads it, start.c carries it out.
 */
#ifndef RWF_CMD_START_H
#define RWF_CMD_START_H
#include "cluster/address.h"
#include "cmd/cmd.h"
#include "cmd/runtime.h"
#include "wire/tls.h"

#define START_PORT 6379

struct start {
    struct cmd_call *call;
    bool head;
    char *dir, *head_folder, *node_folder, *key_path, *listen, *host;
    char *input; /* --key -: its line; NULL: it is in a file */
    char *tls[WIRE_TLS_FILES]; /* of what followed; borrowed from input */
    int port;
    uint8_t key[WIRE_KEY_LEN];
    struct cluster_interface interface; /* by which others reach this machine */
    struct schedule_machine machine;
    char host_name[256];
    struct node_options node;
    const char **names; /* of custom resources, and keys and values of labels */
    double *amounts;
    int say_fd; /* to who waits until we are ready; -1: in the foreground */
};

int start_set(struct start *s, struct rwf_err *err);
/* Removes what came with --key -. */
void start_forget_tls(const struct start *s);
void start_clear(struct start *s);

#endif
