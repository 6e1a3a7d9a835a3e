/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the shims of a gang over several nodes connect to: on the node of rank 0, at
 * the address that the others know. A rank gets what it is to run from here, and all
 * that it prints, reports and ends with comes here (frames.h). Who does not prove to
 * know the key in time is dropped.
 */
#ifndef RWF_GANG_HUB_H
#define RWF_GANG_HUB_H
#include <jansson.h>
#include <stdbool.h>
#include "base/err.h"
#include "gang/frames.h"

struct gang_hub;

struct gang_hub_handler {
    void *ctx;
    /* What a rank is to run, new. */
    json_t *(*welcome)(void *ctx, int rank);
    void (*output)(void *ctx, int rank, bool error, const char *line, size_t len);
    void (*report)(void *ctx, int rank, const char *line, size_t len);
    /* {"pid":…}, {"beat":…}, {"exit":…,"last":…}, … */
    void (*notice)(void *ctx, int rank, const json_t *notice);
    void (*gone)(void *ctx, int rank); /* its connection has ended */
};

/* RWF_E_ENV when nobody can listen at host here. */
struct gang_hub *gang_hub_open(const char *host, int ranks,
                               const struct gang_hub_handler *handler,
                               struct rwf_err *err);
int gang_hub_port(const struct gang_hub *h);
const char *gang_hub_key(const struct gang_hub *h);
/* Readable when there is something to do. */
int gang_hub_fd(const struct gang_hub *h);
/* Does what there is to do, and does not wait. */
void gang_hub_turn(struct gang_hub *h);
/* A signal for all that the ranks have started, on all nodes; also for ranks that come
 * later. */
void gang_hub_signal(struct gang_hub *h, int signal);
bool gang_hub_has(const struct gang_hub *h, int rank);
void gang_hub_close(struct gang_hub *h);

/* A port that is free at host now; 0: there is none. */
int gang_free_port(const char *host);

#endif
