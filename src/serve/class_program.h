/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in class raywf:program: an actor that runs a program which answers HTTP, keeps
 * its output, and knows how it ended. One program for the life of the actor.
 *
 *   create   {"argv":[…],"env":{…},"dir","id","socket","log","health":path|null,
 *             "start_grace":ns,"grace":ns,"front":machine,"token"}: starts it and waits until
 *             it is healthy
 *   address  -> "unix:PATH" or "http://127.0.0.1:PORT": where it listens; and the machine that
 *            this is true on (serve_program_machine), as a second value. On another machine
 *            than the front's "tcp:HOST:PORT": a way to it for who says the token (relay.h)
 *   wait     as long as it lives; cancelled: ends it (TERM, grace, KILL). Its error says
 *            how it ended, with the last lines of its log
 *
 * The program may listen at RAYWF_SOCKET (in texts: ${replica.socket}) or at PORT of loopback
 * (${replica.port}): the one that takes a connection first is its address. It stays in the
 * worker's process group, so that whoever kills that kills all of it; it gets SIGKILL when its
 * worker dies.
 */
#ifndef RWF_SERVE_CLASS_PROGRAM_H
#define RWF_SERVE_CLASS_PROGRAM_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

#define SERVE_PROGRAM_LOG_MAX (8 << 20) /* then it is renamed to NAME.1 */

struct serve_program;

/* Asked often: true ends a wait. */
typedef bool (*serve_program_cancelled_fn)(void *ctx);

/* -1: it ended, or was not healthy in time, or was cancelled; it is gone then.
 * RWF_E_FAILED, RWF_E_DEADLINE, RWF_E_STOPPED. */
struct serve_program *serve_program_start(json_t *how,
                                          serve_program_cancelled_fn cancelled,
                                          void *ctx, struct rwf_err *err);
const char *serve_program_address(const struct serve_program *p);
/* Returns when it has ended: always -1, and *err says how. */
int serve_program_wait(struct serve_program *p, serve_program_cancelled_fn cancelled,
                       void *ctx, struct rwf_err *err);
/* Of this machine, its files and its network: it changes with each boot. The caller's. */
char *serve_program_machine(void);
/* Ends it by force if it lives. */
void serve_program_free(struct serve_program *p);

/* --- inside: the process (class_program_child.c) --- */

struct serve__child {
    int pid;        /* 0: none (any more) */
    int status;     /* of waitpid, once it has ended */
    bool own_group; /* leads a group; else it is in ours */
    int out;        /* its stdout and stderr; -1: closed */
    int log;        /* file; -1: none */
    char *log_path;
    int64_t log_size;
    char tail[2048]; /* the last bytes of its output, a ring */
    size_t tail_len; /* all that was ever written */
};

int serve__child_start(struct serve__child *c, char *const *argv, char *const *envp,
                       const char *dir, const char *log, struct rwf_err *err);
/* Takes in its output for at most `ms`. False: it has ended (reaped). */
bool serve__child_turn(struct serve__child *c, int ms);
void serve__child_signal(struct serve__child *c, int sig);
/* The last lines, for people; the caller's. */
char *serve__child_tail(const struct serve__child *c);
void serve__child_close(struct serve__child *c);

/* --- inside: is it there? (class_program_probe.c) --- */

int serve__probe_free_port(void); /* 0: none */
/* One connection to "unix:PATH" or "http://127.0.0.1:PORT", with a GET of path unless
 * it is NULL: 0 when it answered below 400. *err: what it did instead. Waits `ms` at
 * most. */
int serve__probe(const char *address, const char *path, int ms, struct rwf_err *err);

#endif
