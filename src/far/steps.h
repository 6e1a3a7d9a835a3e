/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of steps, for src/far only:
 *
 *   step.c       a step, wherever it runs; those whose process is here
 *   step_far.c   those that run on another node
 *   steps.c      what other nodes and our clients have started here
 *   step_json.c  a spec, and an exit, as JSON
 */
#ifndef RWF_FAR_STEPS_H
#define RWF_FAR_STEPS_H
#include <sys/queue.h>
#include "far/inside.h"
#include "far/step.h"

#define FAR__SPEC_MAX ((size_t)16 << 20) /* far above what execve takes */

struct far__call;
struct far__served;

struct far_step {
    struct node *node;
    struct far_step_handler handler;
    struct proc *proc;       /* it runs here */
    struct far__call *call; /* it runs elsewhere */
    struct proc_exit result; /* of one that could not start */
    char *dir;               /* of one here, beneath the node's folder of runs */
    bool asked;              /* to end, by whoever started it */
    bool node_stops;         /* we end it because this node ends */
    LIST_ENTRY(far_step) all;
    TAILQ_ENTRY(far_step) over; /* exited is to be called */
    bool is_over;
};

struct far__steps {
    LIST_HEAD(, far_step) all;
    TAILQ_HEAD(, far_step) over;
    size_t procs;             /* processes of steps that run here */
    struct rwf_ids calls;     /* by number */
    uint64_t last_call, last_folder;
    TAILQ_HEAD(, far__served) served;
    uv_timer_t turn;  /* for what is over */
    uv_check_t check; /* while a link is full */
};

/* step.c */
void far__steps_create(struct node *n);
/* The node ends: so do the processes of steps here; node__pool_say_stopped follows. */
void far__steps_stop(struct node *n);
bool far__steps_busy(const struct node *n);
void far__steps_close(struct node *n);
void far__steps_free(struct node *n);
void far__step_hold(struct far_step *s, bool hold);
/* exited is called with s->result in a later turn, or now; s is freed then. */
void far__step_over(struct far_step *s);
void far__step_exited(struct far_step *s, const struct proc_exit *result);

/* step_far.c */
int far__call_start(struct far_step *s, struct far__member *m,
                     const struct proc_spec *spec,
                     const struct far_step_options *options, struct rwf_err *err);
void far__call_stop(struct far__call *c, bool kill);
void far__call_hold(struct far__call *c, bool hold);
void far__calls_peer_closed(struct far__peer *p, const struct rwf_err *err);
void far__on_step_started(struct far__peer *p, struct wire_message *m);
void far__on_step_output(struct far__peer *p, struct wire_message *m);
void far__on_step_exit(struct far__peer *p, struct wire_message *m);

/* steps.c */
void far__on_step_start(struct far__peer *p, struct wire_message *m);
void far__on_step_stop(struct far__peer *p, struct wire_message *m);
void far__on_step_hold(struct far__peer *p, struct wire_message *m);
void far__on_client_step_start(struct node__client *c, struct wire_message *m);
void far__on_client_step_stop(struct node__client *c, struct wire_message *m);
void far__served_peer_closed(struct far__peer *p);
void far__served_client_gone(struct node__client *c);
/* Bytes that wait for whoever has started steps here. */
size_t far__served_queued(const struct node *n);
void far__served_check(uv_check_t *check);

/* step_json.c */
struct far__spec {
    struct proc_spec spec; /* strings are json's */
    json_t *json;
    int *gpus;
    bool files; /* its command and what it inherited are wanted, too */
};
/* The caller frees. */
char *far__spec_write(const struct proc_spec *spec, bool files);
int far__spec_read(struct far__spec *ret, const char *text, struct rwf_err *err);
void far__spec_free(struct far__spec *s);
/* What it names as secrets is kept out of the logs here until they are dropped. */
void far__spec_secrets(const struct far__spec *s, bool keep);
/* Sets the message; what is too long is cut. */
void far__exit_say(struct proc_exit *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
char *far__exit_write(const struct proc_exit *result);
/* tail is *ret_json's, which the caller frees. */
int far__exit_read(struct proc_exit *ret, json_t **ret_json, const char *text,
                    struct rwf_err *err);

#endif
