/* SPDX-License-Identifier: Apache-2.0
 *
 * One question to a head, from who has its key but is no node; it blocks.
 */
#ifndef RWF_CLUSTER_ASK_H
#define RWF_CLUSTER_ASK_H
#include <jansson.h>
#include "wire/link.h"

/* Where a head is, and what opens it. */
struct cluster_at {
    char *host;
    int port;
    uint8_t key[WIRE_KEY_LEN];
};
/* address: HOST:PORT; key: path of the file. */
int cluster_at_open(struct cluster_at *ret, const char *address, const char *key,
                    struct rwf_err *err);
void cluster_at_close(struct cluster_at *at);

/* What LISTED says (the caller decrefs), JSON null for DONE; NULL and *err: ERROR, no
 * connection, another key, another version, or no answer within timeout (ns). */
json_t *cluster_ask(const struct cluster_at *at, enum wire_type type,
                    const ProtobufCMessage *body, int64_t timeout, struct rwf_err *err);
/* LIST: "nodes", "status", … */
json_t *cluster_ask_list(const struct cluster_at *at, const char *what,
                         const char *about, int64_t timeout, struct rwf_err *err);

#endif
