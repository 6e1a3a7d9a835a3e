/* SPDX-License-Identifier: Apache-2.0
 *
 * The options of `raywf start`: what this node has, where the head is or listens, who
 * may join, and by which interface others reach this machine.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"
#include "cluster/ask.h"
#include "cmd/daemon.h"
#include "cmd/start.h"
#include "node/gpu.h"

#define INPUT_MAX (4 << 20)

/* --- what the node has --- */

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
    int64_t gpus = cmd_count(call, "gpu", s->machine.gpu_count);
    if (gpus > s->machine.gpu_count)
        return rwf_fail(err, RWF_E_ENV, "--gpu %lld: this machine has %d (%s)",
                        (long long)gpus, s->machine.gpu_count, node_gpus_source());
    s->machine.gpu_count = (int)gpus;
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

/* --- who opens it --- */

/* For us alone; text is wiped. */
static int keep(const char *path, char *text, struct rwf_err *err)
{
    int rc = 0, fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fchmod(fd, 0600))
        rc = rwf_fail(err, errno, "cannot make the key file %s: %s", path,
                      strerror(errno));
    if (rc == 0)
        rc = rwf_fs_write_all(fd, text, strlen(text), err);
    if (fd >= 0)
        close(fd);
    explicit_bzero(text, strlen(text));
    return rc;
}

static const char *const tls_options[WIRE_TLS_FILES] = {"tls-cert", "tls-key", "tls-ca"};

/* What came with the key lies beside it, for who starts us has no other way to us. */
static int keep_tls(struct start *s, enum wire_tls_file i, struct rwf_err *err)
{
    json_t *json = json_loads(s->tls[i], JSON_DECODE_ANY, NULL);
    char *text = json_is_string(json) ? rwf_xstrdup(json_string_value(json)) : NULL;
    char *path = rwf_fs_join(s->node_folder, tls_options[i]);
    int rc = text ? keep(path, text, err)
                  : rwf_fail(err, RWF_E_USAGE, "--key -: %s is no JSON text",
                             wire_tls_variables[i]);
    explicit_bzero(s->tls[i], strlen(s->tls[i]));
    setenv(wire_tls_variables[i], path, true);
    free(path);
    free(text);
    json_decref(json);
    return rc;
}

static int keep_input(struct start *s, struct rwf_err *err)
{
    s->key_path = rwf_fs_join(s->node_folder, "key");
    int rc = rwf_fs_mkdirs(s->node_folder, err) || keep(s->key_path, s->input, err) ? -1
                                                                                   : 0;
    for (int i = 0; i < WIRE_TLS_FILES && rc == 0; i++)
        if (s->tls[i])
            rc = keep_tls(s, i, err);
    return rc;
}

void start_forget_tls(const struct start *s)
{
    for (int i = 0; i < WIRE_TLS_FILES; i++)
        if (s->tls[i])
            (void)unlink(getenv(wire_tls_variables[i]));
}

/* "@RAYWF_TLS_CERT=JSON" */
static int take_file(struct start *s, char *line, struct rwf_err *err)
{
    size_t len;
    for (int i = 0; i < WIRE_TLS_FILES; i++) {
        const char *name = wire_tls_variables[i];
        len = strlen(name);
        if (strncmp(line + 1, name, len) == 0 && line[len + 1] == '=') {
            s->tls[i] = line + len + 2;
            return 0;
        }
    }
    return rwf_fail(err, RWF_E_USAGE, "--key -: a file that is not known here: raywf of "
                                      "both machines must be the same");
}

/* "NAME=VALUE", or "!NAME=VALUE" of a secret, which no log may show. */
static int take_line(struct start *s, char *line, struct rwf_err *err)
{
    if (*line == '@')
        return take_file(s, line, err);
    bool secret = *line == '!';
    char *eq = strchr(line, '='), *name = line + secret;
    if (!eq || eq == name)
        return rwf_fail(err, RWF_E_USAGE,
                        "--key -: after the key's line NAME=VALUE is expected");
    *eq = '\0';
    setenv(name, eq + 1, true);
    return secret ? rwf_redact_add(name, eq + 1, err) : 0;
}

/* The key's line is kept for later: the node keeps it, for commands on this machine.
 * The variables hold at once: they may say which GPUs there are. */
static int read_input(struct start *s, struct rwf_err *err)
{
    size_t len;
    const char *given = cmd_text(s->call, "key", NULL);
    if (!given || strcmp(given, "-") != 0)
        return 0;
    s->input = rwf_fs_read("-", INPUT_MAX, &len, err);
    if (!s->input)
        return rwf_wrap(err, "--key -");
    char *save = NULL, *line = strchr(s->input, '\n');
    if (line)
        *line++ = '\0';
    for (line = line ? strtok_r(line, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save))
        if (take_line(s, line, err))
            return -1;
    return 0;
}

static int set_key(struct start *s, struct rwf_err *err)
{
    const char *given = cmd_text(s->call, "key", NULL);
    if (given && strcmp(given, "-") == 0) {
        if (keep_input(s, err))
            return -1;
    } else {
        s->key_path =
            given ? rwf_fs_absolute(given) : rwf_fs_join(s->head_folder, "key");
    }
    if (s->head)
        return 0; /* it makes one */
    if (wire_key_load(s->key_path, false, s->key, err) == 0)
        return 0;
    if (err && err->code == ENOENT)
        rwf_fail(err, RWF_E_ENV,
                 "there is no key file %s: copy the one of the head's machine "
                 "(raywf start --head prints where it is) and name it with --key",
                 s->key_path);
    return -1;
}

/* --- where --- */

/* By which interface others reach us: what was said, else what routes to the head. */
static int set_interface(struct start *s, const char *host, struct rwf_err *err)
{
    const char *name = cmd_text(s->call, "interface", NULL);
    if (name)
        return cluster_interface_named(name, &s->interface, err)
                   ? rwf_wrap(err, "--interface")
                   : 0;
    if (!host || cluster_address_is_any(host)) {
        cluster_interface_default(&s->interface);
        return 0;
    }
    return cluster_interface_to(host, &s->interface, err);
}

static int set_listen(struct start *s, struct rwf_err *err)
{
    const char *host = cmd_text(s->call, "host", NULL);
    int64_t port = cmd_count(s->call, "port", START_PORT);
    if (port > 65535)
        return rwf_fail(err, RWF_E_USAGE, "--port %lld: at most 65535",
                        (long long)port);
    if (!host && !cmd_given(s->call, "interface"))
        host = "127.0.0.1";
    if (set_interface(s, host, err))
        return host && !cmd_given(s->call, "interface")
                   ? rwf_wrap(err, "--host %s", host)
                   : -1;
    s->listen = cluster_address_join(host ? host : s->interface.address, (int)port);
    return 0;
}

static int set_join(struct start *s, struct rwf_err *err)
{
    const char *address = cmd_text(s->call, "address", "");
    if (cluster_address_split(address, &s->host, &s->port, err))
        return rwf_wrap(err, "--address");
    if (set_key(s, err))
        return -1;
    return set_interface(s, s->host, err);
}

/* --- for all that the node starts --- */

/* What tells others which interface to use; the node's own environment goes first. */
static const char *const interface_variables[] = {
    "NCCL_SOCKET_IFNAME",
    "GLOO_SOCKET_IFNAME",
    "OMPI_MCA_btl_tcp_if_include",
    "OMPI_MCA_oob_tcp_if_include",
};

static int set_environment(struct start *s, struct rwf_err *err)
{
    size_t count;
    int rc = 0;
    const char **env = cmd_list(s->call, "env", &count);
    for (size_t i = 0; i < count && rc == 0; i++) {
        char *name;
        const char *value;
        rc = set_pair(env[i], "env", &name, &value, err);
        if (rc == 0) {
            setenv(name, value, true);
            free(name);
        }
    }
    free(env);
    return rc;
}

static void set_interface_variables(const struct start *s)
{
    for (size_t i = 0; i < RWF_COUNT(interface_variables) && *s->interface.name; i++)
        setenv(interface_variables[i], s->interface.name, false);
}

/* --- all of it --- */

/* What listens and connects here, and what it starts, look for them there. */
static void set_tls(const struct cmd_call *call)
{
    for (int i = 0; i < WIRE_TLS_FILES; i++)
        if (cmd_given(call, tls_options[i])) {
            char *path = rwf_fs_absolute(cmd_text(call, tls_options[i], ""));
            setenv(wire_tls_variables[i], path, 1);
            free(path);
        }
}

static int check_usage(const struct cmd_call *call, struct rwf_err *err)
{
    static const char *const of_heads[] = {"port", "host", "no-node", "idle-timeout",
                                           "jobs"};
    bool head = cmd_given(call, "head");
    if (head == cmd_given(call, "address"))
        return rwf_fail(err, RWF_E_USAGE,
                        "say either --head, or the --address of the head to join");
    for (size_t i = 0; !head && i < RWF_COUNT(of_heads); i++)
        if (cmd_refuse(call, of_heads[i], "without --head", err))
            return -1;
    if (head &&
        (cmd_refuse(call, "key", "with --head: its key is DIR/head/key", err) ||
         cmd_refuse(call, "orphan-timeout", "with --head: it has no other", err)))
        return -1;
    return 0;
}

int start_set(struct start *s, struct rwf_err *err)
{
    struct cmd_call *call = s->call;
    if (check_usage(call, err))
        return -1;
    set_tls(call);
    s->head = cmd_given(call, "head");
    s->dir = cmd_daemon_dir(cmd_text(call, "dir", NULL), err);
    if (!s->dir)
        return -1;
    s->head_folder = rwf_fs_join(s->dir, "head");
    if (read_input(s, err) || set_environment(s, err))
        return -1;
    if (!cmd_given(call, "no-node") && set_node(s, err))
        return -1;
    if (s->head ? set_key(s, err) || set_listen(s, err) : set_join(s, err))
        return -1;
    s->node.peer_host = s->interface.address;
    s->node.interface = *s->interface.name ? s->interface.name : NULL;
    s->node.key = s->key;
    set_interface_variables(s);
    return 0;
}

void start_clear(struct start *s)
{
    free(s->dir);
    free(s->head_folder);
    free(s->node_folder);
    free(s->key_path);
    free(s->listen);
    free(s->host);
    free(s->input);
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
