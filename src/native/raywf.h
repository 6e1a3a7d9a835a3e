/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf for programs in C: tasks, actors and objects.
 *
 *   A plugin is a shared object that exports functions and actor classes:
 *
 *       static int square(struct raywf_call *call)
 *       {
 *           size_t size;
 *           const double *x = raywf_arg(call, 0, &size);
 *           double y = *x * *x;
 *           return raywf_return(call, 0, &y, sizeof(y));
 *       }
 *       static const struct raywf_function functions[] = {{"square", square, "x*x"}, {0}};
 *       RAYWF_PLUGIN(.functions = functions);
 *
 *   A driver is any process (a plugin's functions, too):
 *
 *       raywf_init(NULL, &err);
 *       struct raywf_task *square = raywf_task("./square.so", "square", NULL, &err);
 *       raywf_submit(square, RAYWF_ARGS(RAYWF_BYTES(&x, sizeof(x))), &ref, &err);
 *       raywf_get(ref, RAYWF_FOREVER, &value, &err);
 *
 * Errors: 0/-1 or pointer/NULL, and *err (may be NULL) says what went wrong. Times are
 * nanoseconds. All functions may be called from any thread, unless said otherwise.
 */
#ifndef RAYWF_H
#define RAYWF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a plugin built against another header can no longer be used. */
#define RAYWF_ABI 1
#define RAYWF_API __attribute__((visibility("default")))

#define RAYWF_FOREVER INT64_MAX
#define RAYWF_MS ((int64_t)1000000)
#define RAYWF_S ((int64_t)1000000000)
/* Larger values lie in shared memory and are never copied again. */
#define RAYWF_INLINE_MAX 32768

enum raywf_code {
    RAYWF_OK,
    RAYWF_E_ARGUMENT,  /* a call that makes no sense: too many arguments, no such method … */
    RAYWF_E_RUNTIME,   /* no runtime, or it could not be reached or started */
    RAYWF_E_TIMEOUT,   /* of this get, wait, or of the task itself */
    RAYWF_E_FAILED,    /* the function returned an error: its text */
    RAYWF_E_WORKER,    /* its worker died: exit code, signal */
    RAYWF_E_OOM,       /* its worker was over its memory limit, or ended under pressure */
    RAYWF_E_PLUGIN,    /* the plugin cannot be loaded, or has no such function */
    RAYWF_E_ACTOR,     /* the actor is dead; the call may or may not have run */
    RAYWF_E_CANCELLED,
    RAYWF_E_LOST,      /* the object is gone and cannot be rebuilt */
    RAYWF_E_FIT,       /* no node can ever meet these resources; the store can never hold it */
    RAYWF_E_OVERRUN,   /* wrote past the end of an object */
};

struct raywf_error {
    int code; /* enum raywf_code */
    char text[1024];
};

/* --- a process and its runtime --- */

struct raywf_options {
    /* Path of a node's socket; NULL: RAYWF_ADDRESS, else a runtime of its own that ends
     * with this process. "": always one of its own. */
    const char *address;
    const char *job;  /* name shown in lists; NULL: the program's */
    int priority;     /* of its tasks among jobs; 0 */
    /* Never more than this for its tasks and actors at once; 0: no limit. */
    double quota_cpu, quota_gpu;
    int64_t quota_memory;
    /* Of a runtime of its own; 0: what the machine has. */
    double cpu;
    int64_t store;     /* bytes of shared memory; 0: 30 % of the memory, at most 8 GiB */
    const char *spill; /* folder for what does not fit; NULL: one in the session's folder */
    int64_t spill_quota; /* bytes; 0: 10 GiB */
};

/* Once in a process, before all else (a plugin's functions: done already). options may
 * be NULL. */
RAYWF_API int raywf_init(const struct raywf_options *options, struct raywf_error *err);
/* Gives everything back. Tasks that are not finished are cancelled. */
RAYWF_API void raywf_shutdown(void);

/* --- values --- */

/* Names a value that is there or is still to come. Plain data: may be copied and passed
 * on in messages, but only raywf_retain makes it last. */
struct raywf_ref {
    uint64_t owner; /* the process that submitted the task or put the value */
    uint64_t id;
};

struct raywf_arg {
    const void *data; /* NULL: by reference */
    size_t size;
    struct raywf_ref ref;
};
#ifdef __cplusplus
}
#include <cstring>
#include <initializer_list>
static inline struct raywf_arg raywf__make_arg(const void *data, size_t size,
                                               struct raywf_ref ref)
{
    struct raywf_arg a = {data, size, ref};
    return a;
}
#define RAYWF_BYTES(d, n) raywf__make_arg((d), (n), raywf_ref())
#define RAYWF_TEXT(s) raywf__make_arg((s), std::strlen(s), raywf_ref())
#define RAYWF_REF(r) raywf__make_arg(0, 0, (r))
#define RAYWF_ARGS(...)                                                                \
    std::initializer_list<struct raywf_arg>{__VA_ARGS__}.begin(),                      \
        std::initializer_list<struct raywf_arg>{__VA_ARGS__}.size()
extern "C" {
#else
#define RAYWF_BYTES(d, n) ((struct raywf_arg){.data = (d), .size = (n)})
#define RAYWF_TEXT(s) ((struct raywf_arg){.data = (s), .size = __builtin_strlen(s)})
#define RAYWF_REF(r) ((struct raywf_arg){.ref = (r)})
#define RAYWF_ARGS(...)                                                                \
    (struct raywf_arg[]){__VA_ARGS__},                                                 \
        sizeof((struct raywf_arg[]){__VA_ARGS__}) / sizeof(struct raywf_arg)
#endif
#define RAYWF_NO_ARGS NULL, 0

/* What get gives: bytes in place, valid until released. */
struct raywf_value {
    const void *data;
    size_t size;
    void *pin; /* raywf's */
};

/* Waits for the value. RAYWF_E_TIMEOUT leaves the ref as it was; any other error is the
 * task's own, and every get of it gives the same. */
RAYWF_API int raywf_get(struct raywf_ref ref, int64_t timeout, struct raywf_value *ret,
                        struct raywf_error *err);
RAYWF_API void raywf_release(struct raywf_value *value);
/* get, copy, release: for values of a known size. */
RAYWF_API int raywf_get_copy(struct raywf_ref ref, int64_t timeout, void *data,
                             size_t size, struct raywf_error *err);
/* Waits until `want` of n refs are there (values or errors), or timeout. Returns how
 * many are; ret_ready[i] (may be NULL) says which. -1: error. */
RAYWF_API int raywf_wait(const struct raywf_ref *refs, size_t n, size_t want,
                         int64_t timeout, bool *ret_ready, struct raywf_error *err);
/* A value of one's own. */
RAYWF_API int raywf_put(const void *data, size_t size, struct raywf_ref *ret,
                        struct raywf_error *err);
/* The same without the copy: memory to fill, then seal. */
RAYWF_API void *raywf_create(size_t size, struct raywf_ref *ret, struct raywf_error *err);
RAYWF_API int raywf_seal(struct raywf_ref ref, struct raywf_error *err);
/* Another reference of this process; every ref that a function here returned, or that
 * was retained, is dropped once. */
RAYWF_API int raywf_retain(struct raywf_ref ref, struct raywf_error *err);
RAYWF_API void raywf_drop(struct raywf_ref ref);

/* --- tasks --- */

enum raywf_cause { /* bits, for retry_on */
    RAYWF_ON_EXIT = 1,     /* the worker exited, or was killed by a signal */
    RAYWF_ON_OOM = 2,
    RAYWF_ON_ERROR = 4,    /* the function returned an error */
    RAYWF_ON_TIMEOUT = 8,
    RAYWF_ON_NODE = 16,    /* its node is gone */
};

enum raywf_placement {
    RAYWF_PACK,
    RAYWF_SPREAD,
    RAYWF_SAME_NODE,
    RAYWF_DIFFERENT_NODES
};

#define RAYWF_STREAM (-1) /* returns: values are yielded one by one */
#define RAYWF_RETURNS_MAX 4096
#define RAYWF_ARGS_MAX 16384

struct raywf_resource {
    const char *name;
    double amount;
};
struct raywf_label {
    const char *key, *value;
};
struct raywf_group;

/* Zero means the default everywhere. */
struct raywf_resources {
    double cpu; /* 1; below 0: none */
    double gpu; /* 0; below 1: a share of one card */
    int64_t memory; /* bytes; also the limit of its worker; 0: no limit */
    const struct raywf_resource *custom; /* ends with a NULL name; NULL: none */
    const struct raywf_label *labels;    /* nodes must have them; ends with NULL */
    enum raywf_placement placement;
    struct raywf_group *group; /* inside this reservation */
    int bundle;                /* of it, from 1; 0: any */
};

struct raywf_retry {
    int max;      /* attempts after the first; 0: 3; below 0: none */
    unsigned on;  /* enum raywf_cause; 0: EXIT, OOM and NODE */
    int64_t backoff; /* before the second attempt; 0: 100 ms; doubles, at most 10 s */
};

struct raywf_task_options {
    struct raywf_resources resources;
    struct raywf_retry retry;
    int returns;     /* 0: 1; RAYWF_STREAM */
    int64_t timeout; /* of one attempt; 0: none */
    int priority;    /* within the job */
    int max_calls;   /* its worker is replaced after so many; 0: never */
    int credit;      /* RAYWF_STREAM: values ahead of the reader; 0: 64 */
    const char *const *env; /* NAME=value … NULL; part of what workers are told apart by */
};

struct raywf_task; /* a function with its options; lives until raywf_shutdown */

/* plugin: a path; with no '/' it is looked for as dlopen does. The plugin is first
 * looked at when a worker loads it: a wrong one fails the tasks with RAYWF_E_PLUGIN. A
 * node of a cluster that has no such file gets it from the one where it was submitted. */
RAYWF_API struct raywf_task *raywf_task(const char *plugin, const char *function,
                                        const struct raywf_task_options *options,
                                        struct raywf_error *err);
/* Submits one call; ret_refs: as many as it returns (a stream: 1). Arguments are copied
 * or, by reference, held until the task is done. */
RAYWF_API int raywf_submit(struct raywf_task *task, const struct raywf_arg *args,
                           size_t n, struct raywf_ref *ret_refs,
                           struct raywf_error *err);
/* The next value of a stream, to be dropped by the caller; 1, 0 at its end, -1. */
RAYWF_API int raywf_next(struct raywf_ref stream, int64_t timeout, struct raywf_ref *ret,
                         struct raywf_error *err);

#define RAYWF_CANCEL_FORCE 1 /* end its worker when it is running */
/* The task that makes ref ends with RAYWF_E_CANCELLED, unless it is done: what has not
 * begun never begins; what runs sees raywf_cancelled(). Tasks that it submitted end, too. */
RAYWF_API int raywf_cancel(struct raywf_ref ref, int flags, struct raywf_error *err);

/* --- actors --- */

struct raywf_actor_options {
    struct raywf_resources resources;
    const char *name;    /* to be found by; unique; NULL: none */
    bool detached;       /* outlives its creator; ends with raywf_actor_kill */
    int max_restarts;    /* 0: none; below 0: without end; the constructor runs again */
    int64_t backoff;     /* before a restart; 0: 100 ms; doubles, at most 10 s */
    int64_t start_timeout; /* of its constructor; 0: 60 s */
    int max_pending;     /* calls of one client that wait; 0: no limit; then -1/EAGAIN text */
    bool get_if_exists;  /* name taken: that one instead of an error */
    const char *const *env;
};

struct raywf_call_options {
    int returns;     /* as for tasks */
    int64_t timeout; /* of the call, in the actor; its actor is then ended */
    bool idempotent; /* may run again when the actor died under it; else at most once */
    int retries;     /* of an idempotent call; 0: 3 */
    int credit;
};

struct raywf_actor; /* a handle of this process */

/* Starts it; does not wait for the constructor: calls queue until it is done, and fail
 * with its error. class_ NULL: its methods are the plain functions of the plugin (no
 * constructor, so no arguments; raywf_state is NULL): a worker kept for oneself. */
RAYWF_API struct raywf_actor *raywf_actor_create(const char *plugin, const char *class_,
                                                 const struct raywf_actor_options *o,
                                                 const struct raywf_arg *args, size_t n,
                                                 struct raywf_error *err);
RAYWF_API struct raywf_actor *raywf_actor_find(const char *name, struct raywf_error *err);
/* Calls of one process run in the order in which they were made. options may be NULL. */
RAYWF_API int raywf_actor_call(struct raywf_actor *actor, const char *method,
                               const struct raywf_call_options *options,
                               const struct raywf_arg *args, size_t n,
                               struct raywf_ref *ret_refs, struct raywf_error *err);
/* Ends it now. restart: let its policy start it again. */
RAYWF_API int raywf_actor_kill(struct raywf_actor *actor, bool restart,
                               struct raywf_error *err);
/* Gives the handle back; an actor that is not detached ends with the last of its
 * creator's handles, after the calls that were made. */
RAYWF_API void raywf_actor_release(struct raywf_actor *actor);

/* --- reservations --- */

struct raywf_bundle {
    double cpu, gpu;
    int64_t memory;
    const struct raywf_resource *custom;
};

/* All bundles or none; waits until they are there, or timeout. */
RAYWF_API struct raywf_group *raywf_group_create(const struct raywf_bundle *bundles,
                                                 size_t n, enum raywf_placement placement,
                                                 int64_t timeout, struct raywf_error *err);
RAYWF_API void raywf_group_remove(struct raywf_group *group);

/* --- plugins --- */

struct raywf_call; /* a call while it runs; used by the thread that runs it */

/* 0; or -1 after raywf_fail. */
typedef int (*raywf_fn)(struct raywf_call *call);

struct raywf_function {
    const char *name;
    raywf_fn fn;
    const char *help; /* may be NULL */
};

struct raywf_class {
    const char *name;
    /* With the actor's arguments; *ret_state is what methods get. -1 after raywf_fail. */
    int (*create)(struct raywf_call *call, void **ret_state);
    void (*destroy)(void *state); /* may be NULL; not called when it is killed */
    const struct raywf_function *methods; /* ends with a NULL name */
    const char *help;
};

struct raywf_plugin {
    uint32_t abi, size; /* RAYWF_ABI, sizeof(struct raywf_plugin) */
    const struct raywf_function *functions; /* end with a NULL name; may be NULL */
    const struct raywf_class *classes;
};
/* Of a plugin exactly one: RAYWF_PLUGIN(.functions = …, .classes = …); in C++, before
 * C++20 too, RAYWF_PLUGIN(functions, classes). */
#ifdef __cplusplus
#define RAYWF_PLUGIN(...)                                                              \
    extern "C" RAYWF_API const struct raywf_plugin raywf_plugin;                       \
    const struct raywf_plugin raywf_plugin = {                                         \
        RAYWF_ABI, sizeof(struct raywf_plugin), __VA_ARGS__}
#else
#define RAYWF_PLUGIN(...)                                                              \
    RAYWF_API const struct raywf_plugin raywf_plugin = {                               \
        .abi = RAYWF_ABI, .size = sizeof(struct raywf_plugin), __VA_ARGS__}
#endif

RAYWF_API size_t raywf_arg_count(const struct raywf_call *call);
/* In place, 8-byte aligned, until the function returns; NULL: there is no such one. */
RAYWF_API const void *raywf_arg(const struct raywf_call *call, size_t i,
                                size_t *ret_size);
RAYWF_API int raywf_return(struct raywf_call *call, size_t i, const void *data,
                           size_t size);
/* Memory for a return value, to be filled before the function returns. */
RAYWF_API void *raywf_return_create(struct raywf_call *call, size_t i, size_t size);
/* For functions that serve requests (`serve:` in a recipe). Argument i is the body of
 * request i of a batch (raywf_arg_count of them: 1 unless batching is on), and return i
 * its answer: plain bytes (raywf_return) are status 200 with the content type of the
 * deployment; this says another status (200 to 599) or type (NULL: the deployment's).
 * raywf_get gives the data alone.
 * With `stream: true` a request is a call as a stream: each value that it yields goes to
 * the client as it comes, as a piece of an answer with status 200; raywf_reply instead of
 * the first one is the whole answer.
 * A class that serves gets `args` of the recipe as one JSON text in its constructor
 * ("{}": none), and user_config as one in its method "reconfigure", before the first
 * request and whenever it changes. Its method "check_health", if there is one, is called
 * for each health check, without arguments. */
RAYWF_API int raywf_reply(struct raywf_call *call, size_t i, int status,
                          const char *content_type, const void *data, size_t size);
/* One more value of a stream; waits while the reader is `credit` behind. */
RAYWF_API int raywf_yield(struct raywf_call *call, const void *data, size_t size);
/* The error of this call; returns -1. */
RAYWF_API int raywf_fail(struct raywf_call *call, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
RAYWF_API void *raywf_state(const struct raywf_call *call); /* of an actor */
RAYWF_API bool raywf_cancelled(const struct raywf_call *call);
/* 1, 2, …: which attempt this is. */
RAYWF_API int raywf_attempt(const struct raywf_call *call);
/* Its worker is replaced after this call. */
RAYWF_API void raywf_recycle(struct raywf_call *call);

#ifdef __cplusplus
}
#endif
#endif
