/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool with a clock that is turned by hand, and replicas that do what a test says.
 */
#ifndef RWF_TESTS_SERVE_RIG_H
#define RWF_TESTS_SERVE_RIG_H
#include "serve/deployment.h"

struct mock; /* a replica */

enum mock_start {
    MOCK_READY,  /* ready at the next turn */
    MOCK_SILENT, /* never ready, unless told */
    MOCK_DIES,   /* dies at the next turn */
    MOCK_FAILS,  /* start itself fails */
    MOCK_WAITS,  /* says that its server does not answer */
};

struct mock {
    struct serve_replica_events e;
    char id[96];
    char version[16]; /* model name of its deployment: what the test calls a version */
    struct serve_item *items[4096];
    int count, sends, configures;
    bool ready, stopped, dying, ill, waits;
    json_t *config;
    void (*check_done)(void *ctx, const char *wrong);
    void *check_ctx;
    struct mock *next;
};

struct rig {
    struct serve_pool pool;
    int64_t now, woken; /* woken: the earliest that was asked for */
    enum mock_start start;
    const char *bad_version; /* of it MOCK_DIES */
    const char *waiting;     /* the deployment of which MOCK_WAITS */
    const char *refuses;     /* what configure says is wrong */
    struct mock *mocks;
    int started, paused; /* paused: replicas that are held up */
    json_t *events;
};

void rig_open(struct rig *r);
void rig_close(struct rig *r); /* all replicas must have stopped */
/* The complete spec of a recipe's text with ' for ". */
struct serve_app *rig_app(const char *name, const char *text);
/* What mocks have to say, and all of it that follows. True: there was something. */
bool rig_turn(struct rig *r);
/* The i-th living mock, ready or not, of a version (NULL: any), or NULL. */
struct mock *rig_mock(struct rig *r, const char *version, int i);
int rig_count(struct rig *r, const char *version);
/* Answers the i-th item; status 200. */
void mock_answer(struct mock *m, int i);
void mock_status(struct mock *m, int i, int status);
/* Its items are lost, and it died. */
void mock_die(struct mock *m, bool ran);
/* How many events of a name there were. */
int rig_events(const struct rig *r, const char *name);

#endif
