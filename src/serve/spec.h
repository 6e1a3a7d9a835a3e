/* SPDX-License-Identifier: Apache-2.0
 *
 * An application as a recipe says it, checked and with defaults filled in: what
 * `serve.NAME` means. The server gets it as JSON (the op's spec, resolved); this is its
 * reading. Texts are borrowed from that JSON, which the application holds. The JSON is
 * complete: each key below is there, durations in ns, sizes in bytes, null for what is
 * not said:
 *
 *   {"name", "prefix", "http": {"host", "port", "tls": {"cert", "key"}, "cors": [],
 * "api_keys": [], "access_log", "max_body", "request_timeout", "idle_timeout",
 * "max_connections"}, "deployments": {NAME: {"kind": "native" | "model" | "program" |
 * "url", …}}, "graph": as in a recipe, "update": {"canary", "hold", "max_error_rate"}}
 *
 *   application   one entry of `serve`: a prefix of the front, deployments, a graph
 *   deployment    one kind of replica, how many of it, and how they are fed
 *   version       what a deployment is made of: another one means new replicas
 */
#ifndef RWF_SERVE_SPEC_H
#define RWF_SERVE_SPEC_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

enum { SERVE_REPLICAS_MAX = 10000 }; /* of a deployment */

enum serve_kind {
    SERVE_NATIVE,  /* a function of a plugin, or a method of a class of it */
    SERVE_MODEL,   /* a checkpoint of train.NAME: rows in, predictions out */
    SERVE_PROGRAM, /* any program that speaks HTTP on a socket */
    SERVE_URL,     /* somebody else's server */
};

struct serve_batching {
    int max_batch_size; /* 1: no batches */
    int64_t wait;    /* ns that the first of a batch waits for others; 0: takes what is
                        queued */
    int64_t latency; /* objective of a batch, ns: the size adapts (AIMD) below max; 0:
                        fixed */
};

struct serve_autoscaling {
    bool on;                                  /* false: replicas says how many */
    int min, max, initial;                    /* initial -1: min, but one */
    double target;                            /* ongoing requests of a replica */
    int64_t up_delay, down_delay, zero_delay; /* ns; zero_delay: of the last replica */
    int64_t look_back;                        /* ns that the mean is taken over */
    double up_factor, down_factor;            /* smoothing of a step */
};

struct serve_health {
    const char *path; /* programs and URLs; NULL: a connection is enough */
    int64_t period, timeout, start_grace; /* ns */
    int misses;                           /* in a row, then the replica is replaced */
};

struct serve_deployment {
    const char *name;
    enum serve_kind kind;
    const char *plugin, *function, *class_, *method; /* NATIVE */
    bool stream; /* NATIVE: a call is a stream, its values are pieces of the answer */
    const json_t *args, *user_config;                /* NULL: none */
    const char *model; /* MODEL: the checkpoint's folder */
    /* PROGRAM: "${replica.socket}" and "${replica.port}" are filled in later, also in
     * env; a first word "raywf" is this very program. */
    const json_t *argv;
    const json_t *env;
    const char *dir;
    const char *url;          /* URL */
    const char *content_type; /* of replies; NULL: application/json, text/event-stream */
    const json_t *resources;  /* of a replica, as a step's */
    int replicas;
    int max_ongoing; /* requests that a replica works on at once */
    int max_queued;  /* that wait beside; < 0: no limit. More: 503 */
    int64_t timeout; /* of a request, ns; 0: none. 504 */
    bool idempotent; /* may be asked again when its replica died under it */
    int retries;
    const char *affinity; /* header that keeps a session on a replica; NULL: none */
    struct serve_batching batching;
    struct serve_autoscaling autoscaling;
    struct serve_health health;
    int64_t
        drain_timeout;   /* ns that a replica may take to finish when it is replaced */
    const char *content; /* digest of its plugin, model or files; NULL: not known */
    char version[65]; /* digest of what its replicas are made of, without user_config,
                         counts and feeding; of content instead of paths, where that is
                         known */
};

enum serve_node_kind {
    SERVE_CALL,     /* a deployment */
    SERVE_SEQUENCE, /* one after another: the output is the next one's input */
    SERVE_FANOUT,   /* all at once; outputs joined as {"name": output} */
    SERVE_SWITCH,   /* by a field of the input */
    SERVE_SPLIT,    /* by weight (canary) */
    SERVE_FALLBACK, /* the first that does not fail */
};

struct serve_branch {
    int node;          /* of the application's nodes */
    const char *name;  /* FANOUT: key of the output */
    const char *value; /* SWITCH: text of the field; NULL: otherwise */
    double weight;     /* SPLIT */
};

/* Nodes form a tree whose leaves are calls; root is node 0. */
struct serve_node {
    enum serve_node_kind kind;
    int deployment;    /* CALL */
    const char *field; /* SWITCH: "a.b" */
    const char *
        header; /* SPLIT: requests with equal values go the same way; NULL: by chance */
    struct serve_branch *branches;
    int branch_count;
};

/* Of a front; applications that share host and port agree on the rest. */
struct serve_http {
    const char *host;
    int port;
    const char *cert, *key;        /* TLS files; NULL: plain */
    const json_t *cors, *api_keys; /* arrays of texts */
    bool access_log;
    int64_t max_body;                      /* bytes */
    int64_t request_timeout, idle_timeout; /* ns */
    int max_connections;
};

struct serve_app {
    json_t *spec;              /* held */
    const char *name, *prefix; /* "/iris"; "" is the root */
    struct serve_http http;
    struct serve_deployment *deployments;
    int deployment_count;
    struct serve_node *nodes;
    int node_count;
    /* Strategy of updates. */
    double canary; /* share that a new version gets first; 0: at once when healthy */
    int64_t canary_hold;   /* ns that it must do well for */
    double max_error_rate; /* of the new version, above which it is rolled back; 1:
                              never */
};

/* What a recipe says of serve.NAME, resolved -> the complete JSON above: defaults,
 * "main" for an inline deployment, programs as argv. References that are not known yet
 * may stand in it as texts. The caller's; NULL and *err when the shape is wrong. */
json_t *serve_spec_complete(const char *name, const json_t *body, struct rwf_err *err);

/* RWF_E_RECIPE with the key that is wrong. spec is complete, and incref'd. */
struct serve_app *serve_app_read(json_t *spec, struct rwf_err *err);
void serve_app_free(struct serve_app *a);
int serve_app_deployment(const struct serve_app *a, const char *name); /* -1: none */
const char *serve_kind_name(enum serve_kind kind);                     /* "native" */
/* "http://127.0.0.1:8000/iris", without a slash at its end. The caller's. */
char *serve_url(const char *host, int port, bool tls, const char *prefix);

#endif
