/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemons of a cluster: a head with a node, a head alone, or a node that joins a
 * head. All state is below --dir; who has the key file may join.
 */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/daemon.h"
#include "cmd/runtime.h"

#define DEFAULT_PORT 6460

struct start {
    struct cmd_call *call;
    bool head;
    char *dir, *head_folder, *node_folder, *key_path, *listen, *host;
    int port;
    uint8_t key[WIRE_KEY_LEN];
    struct schedule_machine machine;
    char host_name[256];
    struct node_options node;
    const char **names; /* of custom resources, and keys and values of labels */
    double *amounts;
    int say_fd; /* to who waits until we are ready; -1: in the foreground */
};

/* --- options --- */

/* "HOST:PORT", "[HOST]:PORT" */
static int parse_address(struct start *s, const char *text, struct rwf_err *err)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;
    if (!colon || colon == text || *end || port < 1 || port > 65535)
        return rwf_fail(
            err, RWF_E_USAGE,
            "--address %s: HOST:PORT is expected, as raywf start --head prints "
            "it",
            text);
    bool brackets = *text == '[' && colon[-1] == ']';
    s->host =
        rwf_xstrndup(text + brackets, (size_t)(colon - text) - 2 * (size_t)brackets);
    s->port = (int)port;
    return 0;
}

static int set_pair(const char *text, const char *what, char **ret_name,
                    const char **ret_value, struct rwf_err *err)
{
    const char *eq = strchr(text, '=');
    if (!eq || eq == text)
        return rwf_fail(err, RWF_E_USAGE, "--%s %s: NAME=VALUE is expected", what,
                        text);
    *ret_name = rwf_xstrndup(text, (size_t)(eq - text));
    *ret_value = eq + 1;
    return 0;
}

/* Names live as long as the daemon. */
static int set_custom(struct start *s, struct rwf_err *err)
{
    size_t resources, labels, n = 0;
    const char **r = cmd_list(s->call, "resource", &resources);
    const char **l = cmd_list(s->call, "label", &labels);
    int rc = 0;
    s->names = rwf_xcalloc(resources + 2 * labels + 1, sizeof(*s->names));
    s->amounts = rwf_xcalloc(resources + 1, sizeof(*s->amounts));
    for (size_t i = 0; i < resources && !rc; i++) {
        char *name, *end;
        const char *value;
        rc = set_pair(r[i], "resource", &name, &value, err);
        if (rc)
            break;
        s->amounts[i] = strtod(value, &end);
        s->names[n++] = name;
        if (*end || end == value || !isfinite(s->amounts[i]) || s->amounts[i] < 0)
            rc = rwf_fail(err, RWF_E_USAGE,
                          "--resource %s: a number from 0 up is expected", r[i]);
    }
    for (size_t i = 0; i < labels && !rc; i++) {
        char *name;
        rc = set_pair(l[i], "label", &name, &s->names[resources + labels + i], err);
        if (!rc)
            s->names[resources + i] = name;
    }
    if (resources) {
        s->machine.custom_names = s->names;
        s->machine.custom_amounts = s->amounts;
        s->machine.custom_count = resources;
    }
    s->machine.label_keys = s->names + resources;
    s->machine.label_values = s->names + resources + labels;
    s->machine.label_count = labels;
    free(r);
    free(l);
    return rc;
}

static int set_node(struct start *s, struct rwf_err *err)
{
    struct cmd_call *call = s->call;
    int64_t memory;
    if (cmd_runtime_machine(call, &s->machine, err) || set_custom(s, err) ||
        cmd_runtime_size(call, "memory", &memory, err) ||
        cmd_runtime_size(call, "store", &s->node.store, err) ||
        cmd_runtime_size(call, "spill-quota", &s->node.spill_quota, err))
        return -1;
    if (memory)
        s->machine.memory = memory;
    gethostname(s->host_name, sizeof(s->host_name) - 1);
    s->machine.name = cmd_text(call, "name", s->host_name);
    if (!rwf_fs_is_beneath(s->machine.name) || strchr(s->machine.name, '/'))
        return rwf_fail(err, RWF_E_USAGE, "--name %s: a plain name is expected",
                        s->machine.name);
    s->node.machine = &s->machine;
    s->node.spill = cmd_text(call, "spill", NULL);
    s->node_folder = rwf_xasprintf("%s/nodes/%s", s->dir, s->machine.name);
    s->node.folder = s->node_folder;
    return 0;
}

static int check_usage(const struct cmd_call *call, struct rwf_err *err)
{
    bool head = cmd_given(call, "head");
    if (head == cmd_given(call, "address"))
        return rwf_fail(err, RWF_E_USAGE,
                        "say either --head, or the --address of the head to join");
    if (!head && (cmd_refuse(call, "port", "without --head", err) ||
                  cmd_refuse(call, "host", "without --head", err) ||
                  cmd_refuse(call, "no-node", "without --head", err)))
        return -1;
    if (head && cmd_refuse(call, "key", "with --head: its key is DIR/head/key", err))
        return -1;
    return 0;
}

/* Said now, to who can do something about it: a node would try for ever. */
static int look_first(struct start *s, struct rwf_err *err)
{
    const json_t *row;
    size_t i;
    int rc = 0;
    json_t *nodes = cmd_runtime_probe(s->host, s->port, s->key, err);
    if (!nodes)
        return -1;
    json_array_foreach(nodes, i, row) {
        const char *name = json_string_value(json_object_get(row, "node"));
        const char *state = json_string_value(json_object_get(row, "state"));
        if (name && strcmp(name, s->machine.name) == 0 && state &&
            strcmp(state, "alive") == 0)
            rc =
                rwf_fail(err, RWF_E_USAGE,
                         "a node named '%s' is in that cluster already: choose another "
                         "--name",
                         name);
    }
    json_decref(nodes);
    return rc;
}

static int set_up(struct start *s, struct rwf_err *err)
{
    struct cmd_call *call = s->call;
    if (check_usage(call, err))
        return -1;
    s->head = cmd_given(call, "head");
    s->dir = cmd_daemon_dir(cmd_text(call, "dir", NULL), err);
    if (!s->dir)
        return -1;
    s->head_folder = rwf_fs_join(s->dir, "head");
    s->key_path = cmd_given(call, "key") ? rwf_fs_absolute(cmd_text(call, "key", NULL))
                                         : rwf_fs_join(s->head_folder, "key");
    if (!cmd_given(call, "no-node") && set_node(s, err))
        return -1;
    if (!s->head)
        return parse_address(s, cmd_text(call, "address", ""), err) ||
                       wire_key_load(s->key_path, false, s->key, err)
                   ? -1
                   : 0;
    const char *host = cmd_text(call, "host", "127.0.0.1");
    int64_t port = cmd_count(call, "port", DEFAULT_PORT);
    if (port > 65535)
        return rwf_fail(err, RWF_E_USAGE, "--port %lld: at most 65535",
                        (long long)port);
    s->listen = rwf_xasprintf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, (int)port);
    return 0;
}

static void clear(struct start *s)
{
    free(s->dir);
    free(s->head_folder);
    free(s->node_folder);
    free(s->key_path);
    free(s->listen);
    free(s->host);
    explicit_bzero(s->key, sizeof(s->key));
    size_t names =
        s->machine.label_count + (s->amounts && s->machine.custom_names == s->names
                                      ? s->machine.custom_count
                                      : 0);
    for (size_t i = 0; s->names && i < names; i++)
        free((char *)s->names[i]);
    free(s->names);
    free(s->amounts);
}

/* --- running --- */

static char *product(const struct start *s, const char *address, int port)
{
    char *colon = s->listen ? strrchr(s->listen, ':') : NULL;
    char *at = colon
                   ? rwf_xasprintf("%.*s:%d", (int)(colon - s->listen), s->listen, port)
                   : rwf_xasprintf("%s:%d", s->host, s->port);
    json_t *j = json_pack("{s:o, s:i, s:o}", "head", cmd_string(at), "pid",
                          (int)getpid(), "key", cmd_string(s->key_path));
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
        printf("join with  raywf start --address %s\n", head);
    printf("end with   raywf shutdown\n");
    fflush(stdout);
}

static int ready(void *ctx, const char *address, int port, struct rwf_err *err)
{
    struct start *s = ctx;
    char *text = product(s, address, port);
    int rc = 0;
    if (s->head) {
        json_t *j = json_loads(text, 0, NULL);
        char *path = rwf_fs_join(s->head_folder, "address");
        const char *at = json_string_value(json_object_get(j, "head"));
        rc = rwf_fs_write(path, at, strlen(at), false, err);
        free(path);
        json_decref(j);
    }
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
                                    .driver = -1,
                                    .ready = ready,
                                    .ctx = s};
    if (s->head && cmd_daemon_claim(s->head_folder, "a head", err))
        return -1;
    if (s->node_folder && cmd_daemon_claim(s->node_folder, "this node", err))
        return -1;
    /* Not before the fork: the loop that asks has threads and descriptors of its own.
     */
    if (!s->head && look_first(s, err))
        return -1;
    return cmd_runtime_run(&o, err);
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
    clear(s);
    exit(rc ? rwf_exit_code(err) : 0); /* the parent prints the product */
}

static int start_run(struct cmd_call *call, struct rwf_err *err)
{
    struct start s = {.call = call, .say_fd = -1};
    int rc = set_up(&s, err);
    if (rc == 0)
        rc = cmd_given(call, "foreground") ? run(&s, err) : run_in_background(&s, err);
    clear(&s);
    return rc;
}

static const struct cmd_option options[] = {
    {"head", 0, CMD_FLAG, NULL, false, NULL, "start a cluster: its head, and a node"},
    {"address", 0, CMD_TEXT, "HOST:PORT", false, NULL, "join the cluster of this head"},
    {"host", 0, CMD_TEXT, "HOST", false, "127.0.0.1", "where the head listens"},
    {"port", 0, CMD_COUNT, "N", false, "6460", "its port; 0: any that is free"},
    {"key", 0, CMD_FILE, "FILE", false, "DIR/head/key",
     "the cluster's key; the head makes it"},
    {"dir", 0, CMD_DIR, "DIR", false, "~/.local/state/raywf", "where all state is"},
    {"name", 0, CMD_TEXT, "NAME", false, "the host's",
     "of the node, unique in the cluster"},
    {"no-node", 0, CMD_FLAG, NULL, false, NULL, "the head alone"},
    {"cpu", 0, CMD_TEXT, "N", false, "what the machine has", "cores to hand out"},
    {"memory", 0, CMD_TEXT, "SIZE", false, "what the machine has",
     "memory to hand out"},
    {"resource", 0, CMD_SETTING, "NAME=N", true, NULL, "a resource of your own"},
    {"label", 0, CMD_SETTING, "NAME=VALUE", true, NULL,
     "what tasks may ask the node for"},
    {"store", 0, CMD_TEXT, "SIZE", false, "30 % of the memory, at most 8 GiB",
     "shared memory for objects"},
    {"spill", 0, CMD_DIR, "DIR", false, NULL, "where objects go that do not fit"},
    {"spill-quota", 0, CMD_TEXT, "SIZE", false, "10GiB", "how much may go there"},
    {"foreground", 0, CMD_FLAG, NULL, false, NULL, "stay, and log to stderr"},
    {0},
};

const struct cmd cmd_start = {
    .name = "start",
    .group = CMD_EXECUTE,
    .summary = "start a head and a node for native tasks, or a node that joins a head",
    .details =
        "Programs that use raywf.h find the node by RAYWF_ADDRESS. Who has the key "
        "file "
        "may join; it is made with the head, for you alone. The head listens on "
        "loopback "
        "unless --host says otherwise. Named and detached actors, and reservations, "
        "survive a restart of the head.",
    .examples = "raywf start --head --cpu 8\n"
                "raywf start --address 127.0.0.1:6460 --name second",
    .exits = "0 2 7",
    .options = options,
    .run = start_run,
};
