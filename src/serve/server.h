/* SPDX-License-Identifier: Apache-2.0
 *
 * The server program's inside: fronts, applications, a control socket, one loop. It is a client
 * of a native runtime, where its replicas live. In its folder:
 *
 *   state.json          what is deployed, so that the next server begins with it
 *   access-PORT.log     requests, where a front wants that
 *   log/REPLICA.log     what programs print
 *
 * SIGTERM and "down" drain: no new connections, what is there is answered, replicas end.
 */
#ifndef RWF_SERVE_SERVER_H
#define RWF_SERVE_SERVER_H
#include "base/err.h"
#include "serve/replica.h"

struct serve_server_options {
    const char *folder;
    const char *address; /* of the runtime; NULL: RAYWF_ADDRESS */
    const char
        *control; /* socket; NULL: RAYWF_SERVE_CONTROL, else control in the folder */
    /* Kinds of replicas by enum serve_kind; NULL: the real ones. With others no runtime
     * is joined. */
    const struct serve_replica_ops *const *kinds;
};

/* Returns when it was drained: 0; -1 when it cannot begin. */
int serve_server_run(const struct serve_server_options *o, struct rwf_err *err);

#endif
