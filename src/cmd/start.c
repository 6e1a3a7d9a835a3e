/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemons of a cluster: a head with a node, a head alone, or a node that joins a
 * head. All state is below --dir; who has the key file may join.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cluster/ask.h"
#include "cmd/daemon.h"
#include "cmd/head_find.h"
#include "cmd/start.h"

#define DRAIN (2 * RWF_NS_PER_S) /* of a node that is told to end while it works */
#define LOOK_TIMEOUT (10 * RWF_NS_PER_S)

/* --- running --- */

/* Said now, to who can do something about it: a node would try for ever. */
static int look_first(struct start *s, struct rwf_err *err)
{
    const json_t *row;
    size_t i;
    int rc = 0;
    struct cluster_at at = {.host = s->host, .port = s->port};
    memcpy(at.key, s->key, sizeof(at.key));
    json_t *nodes = cluster_ask_list(&at, "nodes", "", LOOK_TIMEOUT, err);
    explicit_bzero(at.key, sizeof(at.key));
    if (!nodes)
        return -1;
    json_array_foreach(nodes, i, row) {
        const char *name = json_string_value(json_object_get(row, "node"));
        const char *state = json_string_value(json_object_get(row, "state"));
        if (name && strcmp(name, s->machine.name) == 0 && state &&
            strcmp(state, "away") != 0)
            rc =
                rwf_fail(err, RWF_E_USAGE,
                         "a node named '%s' is in that cluster already: choose another "
                         "--name",
                         name);
    }
    json_decref(nodes);
    return rc;
}

/* Where others find the head: never "all interfaces". */
static char *head_address(const struct start *s, int port)
{
    char *host, *address;
    if (!s->head)
        return cluster_address_join(s->host, s->port);
    const char *colon = strrchr(s->listen, ':');
    bool brackets = *s->listen == '[';
    host = rwf_xstrndup(s->listen + brackets,
                        (size_t)(colon - s->listen) - 2 * (size_t)brackets);
    address = cluster_address_join(
        cluster_address_is_any(host) ? s->interface.address : host, port);
    free(host);
    return address;
}

static char *product(const struct start *s, const char *address, int port)
{
    char *at = head_address(s, port);
    json_t *j =
        json_pack("{s:o, s:i, s:o, s:s}", "head", cmd_string(at), "pid", (int)getpid(),
                  "key", cmd_string(s->key_path), "interface", s->interface.name);
    if (address)
        json_object_set_new(j, "address", cmd_string(address));
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    free(at);
    return text;
}

static void show(struct cmd_call *call, json_t *j)
{
    const char *head = json_string_value(json_object_get(j, "head"));
    const char *address = json_string_value(json_object_get(j, "address"));
    call->data = j;
    if (call->json)
        return;
    if (call->quiet) {
        puts(address ? address : head);
        fflush(stdout);
        return;
    }
    if (cmd_given(call, "head"))
        printf("head       %s\nkey        %s\n", head,
               json_string_value(json_object_get(j, "key")));
    if (address)
        printf("node       export RAYWF_ADDRESS=%s\n", address);
    if (cmd_given(call, "head"))
        printf("join with  raywf start --address %s --key FILE (a copy of that key)\n",
               head);
    const char *dir = cmd_text(call, "dir", NULL);
    printf("end with   raywf shutdown%s%s\n", dir ? " --dir " : "", dir ? dir : "");
    fflush(stdout);
}

/* For commands on this machine: cmd_head_find. */
static int note_head(const struct start *s, int port, struct rwf_err *err)
{
    char *at = head_address(s, port);
    int rc = 0;
    if (s->head)
        rc = cmd_head_note(s->head_folder, at, s->key_path, err);
    if (rc == 0 && s->node_folder)
        rc = cmd_head_note(s->node_folder, at, s->key_path, err);
    free(at);
    return rc;
}

static int ready(void *ctx, const char *address, int port, struct rwf_err *err)
{
    struct start *s = ctx;
    char *text = product(s, address, port);
    int rc = note_head(s, port, err);
    if (rc == 0 && s->say_fd >= 0) {
        cmd_daemon_say(s->say_fd, text);
        close(s->say_fd);
        s->say_fd = -1;
    } else if (rc == 0) {
        show(s->call, json_loads(text, 0, NULL));
    }
    free(text);
    return rc;
}

static int run(struct start *s, struct rwf_err *err)
{
    struct cmd_runtime_options o = {.node = s->node.folder ? &s->node : NULL,
                                    .head = s->head,
                                    .head_folder = s->head_folder,
                                    .listen = s->listen,
                                    .connect = s->host,
                                    .port = s->port,
                                    .key = s->key,
                                    .jobs = (size_t)cmd_count(s->call, "jobs", 0),
                                    .driver = -1,
                                    .orphan =
                                        cmd_duration(s->call, "orphan-timeout", 0),
                                    .idle = cmd_duration(s->call, "idle-timeout", 0),
                                    .drain = cmd_duration(s->call, "drain", DRAIN),
                                    .ready = ready,
                                    .ctx = s};
    if (s->head && cmd_daemon_claim(s->head_folder, "a head", err))
        return -1;
    if (s->node_folder && cmd_daemon_claim(s->node_folder, "this node", err))
        return -1;
    if (s->head && wire_key_load(s->key_path, true, s->key, err))
        return -1;
    /* Not before the fork: the loop that asks has threads and descriptors of its own.
     */
    if (!s->head && look_first(s, err))
        return -1;
    int rc = cmd_runtime_run(&o, err);
    start_forget_tls(s);
    if (cmd_given(s->call, "temporary"))
        rwf_fs_rmtree(s->dir, NULL);
    return rc;
}

static int run_in_background(struct start *s, struct rwf_err *err)
{
    const char *folder = s->head ? s->head_folder : s->node_folder;
    char *log = rwf_fs_join(folder, "log"), *text = NULL;
    int rc = rwf_fs_mkdirs(folder, err);
    if (rc == 0)
        rc = cmd_daemon_fork(log, &s->say_fd, &text, err);
    free(log);
    if (rc > 0) {
        show(s->call, json_loads(text, 0, NULL));
        free(text);
        return 0;
    }
    if (rc < 0)
        return -1;
    rc = run(s, err);
    if (rc && s->say_fd >= 0)
        cmd_daemon_say_error(s->say_fd, err);
    start_clear(s);
    exit(rc ? rwf_exit_code(err) : 0); /* the parent prints the product */
}

static int start_run(struct cmd_call *call, struct rwf_err *err)
{
    struct start s = {.call = call, .say_fd = -1};
    int rc = start_set(&s, err);
    if (rc == 0)
        rc = cmd_given(call, "foreground") ? run(&s, err) : run_in_background(&s, err);
    start_clear(&s);
    return rc;
}

static const struct cmd_option options[] = {
    {"head", 0, CMD_FLAG, NULL, false, NULL, "start a cluster: its head, and a node"},
    {"address", 0, CMD_TEXT, "HOST:PORT", false, NULL, "join the cluster of this head"},
    {"host", 0, CMD_TEXT, "HOST", false, "127.0.0.1",
     "where the head listens; 0.0.0.0: everywhere"},
    {"port", 0, CMD_COUNT, "N", false, "6379", "its port; 0: any that is free"},
    {"interface", 0, CMD_TEXT, "NAME", false, "the one that routes to the head",
     "by which others reach this machine, such as eth0"},
    {"key", 0, CMD_FILE, "FILE", false, "DIR/head/key",
     "the cluster's key, which the head makes; -: it comes on standard input"},
    {"tls-cert", 0, CMD_FILE, "FILE", false, "RAYWF_TLS_CERT",
     "TLS between the machines: the certificate of this one; all need theirs"},
    {"tls-key", 0, CMD_FILE, "FILE", false, "RAYWF_TLS_KEY",
     "the key of that, which only you may read"},
    {"tls-ca", 0, CMD_FILE, "FILE", false, "RAYWF_TLS_CA",
     "the CA that made all of them"},
    {"dir", 0, CMD_DIR, "DIR", false, "~/.local/state/raywf", "where all state is"},
    {"name", 0, CMD_TEXT, "NAME", false, "the host's",
     "of the node, unique in the cluster"},
    {"no-node", 0, CMD_FLAG, NULL, false, NULL, "the head alone"},
    {"cpu", 0, CMD_TEXT, "N", false, "what the machine has", "cores to hand out"},
    {"memory", 0, CMD_TEXT, "SIZE", false, "what the machine has",
     "memory to hand out"},
    {"gpu", 0, CMD_COUNT, "N", false, "what the machine has",
     "GPUs to hand out: the first N"},
    {"resource", 0, CMD_SETTING, "NAME=N", true, NULL, "a resource of your own"},
    {"label", 0, CMD_SETTING, "NAME=VALUE", true, NULL,
     "what tasks may ask the node for"},
    {"env", 0, CMD_SETTING, "NAME=VALUE", true, NULL,
     "a variable for all that the node starts"},
    {"store", 0, CMD_TEXT, "SIZE", false, "30 % of the memory, at most 8 GiB",
     "shared memory for objects"},
    {"spill", 0, CMD_DIR, "DIR", false, NULL, "where objects go that do not fit"},
    {"spill-quota", 0, CMD_TEXT, "SIZE", false, "10GiB", "how much may go there"},
    {"drain", 0, CMD_DURATION, "TIME", false, "2s",
     "when it is told to end: how long what runs may go on"},
    {"orphan-timeout", 0, CMD_DURATION, "TIME", false, NULL,
     "end when the head is away for so long"},
    {"idle-timeout", 0, CMD_DURATION, "TIME", false, NULL,
     "end the head and all its nodes when nobody uses them for so long"},
    {"jobs", 0, CMD_COUNT, "N", false, "8",
     "of a head: so many jobs (raywf job) run at once"},
    {"temporary", 0, CMD_FLAG, NULL, false, NULL, "remove DIR at the end"},
    {"foreground", 0, CMD_FLAG, NULL, false, NULL, "stay, and log to stderr"},
    {0},
};

const struct cmd cmd_start = {
    .name = "start",
    .group = CMD_EXECUTE,
    .summary = "start the head of a cluster, or a node that joins it",
    .details =
        "On one machine: raywf start --head. On each other: raywf start --address, "
        "with "
        "the key file of the first (only who has it may join; it is made for you "
        "alone). "
        "The head listens on loopback unless --host or --interface says otherwise. "
        "Programs that use raywf.h find the node by RAYWF_ADDRESS. What is named, "
        "detached or reserved survives a restart of the head. NCCL, Gloo and Open MPI "
        "are told the interface, unless --env or the environment names another. With "
        "--tls-cert, -key and -ca on all machines (RAYWF_TLS_CERT, _KEY and _CA for "
        "other commands that speak to the head, unless they find this daemon in DIR) what goes between them is encrypted; "
        "certificates of that CA are believed whatever their name, and the key is "
        "asked "
        "for all the same. The log is DIR/head/log or DIR/nodes/NAME/log, at most four "
        "files of 8 MiB.",
    .examples = "raywf start --head --cpu 8\n"
                "raywf start --head --host 0.0.0.0\n"
                "raywf start --address 10.0.0.1:6379 --key key --name second",
    .exits = "0 2 7",
    .options = options,
    .run = start_run,
};
