/* SPDX-License-Identifier: Apache-2.0
 *
 * A cluster that stays until raywf shutdown: N nodes on this machine, for people's own
 * tests, or the one that a recipe would bring up for its run.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "cmd/daemon.h"
#include "cmd/resolve.h"
#include "wire/tls.h"

#define SIZE_MAX_TEST 1000

static void set_text(json_t *map, const char *key, const char *text)
{
    if (text)
        json_object_set_new(map, key, cmd_string(text));
}

/* NAME=VALUE options as a map. */
static int set_pairs(json_t *map, const char *key, const struct cmd_call *call,
                     const char *option, struct rwf_err *err)
{
    size_t count;
    const char **list = cmd_list(call, option, &count);
    json_t *pairs = json_object();
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        const char *eq = strchr(list[i], '=');
        char *name =
            eq && eq != list[i] ? rwf_xstrndup(list[i], (size_t)(eq - list[i])) : NULL;
        if (name)
            json_object_set_new(pairs, name, cmd_string(eq + 1));
        else
            rc = rwf_fail(err, RWF_E_USAGE, "--%s %s: NAME=VALUE is expected", option,
                          list[i]);
        free(name);
    }
    if (json_object_size(pairs))
        json_object_set(map, key, pairs);
    json_decref(pairs);
    free(list);
    return rc;
}

/* What a recipe says. Below 0: *err; else an exit code. */
static int section_of(struct cmd_call *call, const char *path, json_t **ret,
                      char **ret_dir, struct rwf_err *err)
{
    struct cmd_compiled c;
    int code = cmd_compile(call, path, true, &c, err);
    const struct recipe_node *cluster =
        code == 0 ? recipe_get(recipe_root(c.recipe), "cluster") : NULL;
    if (code == 0 &&
        (!cluster || cluster->kind != RECIPE_MAP || recipe_get(cluster, "address")))
        code = rwf_fail(err, RWF_E_USAGE,
                        "%s: it brings no cluster up: its section `cluster` has hosts, "
                        "slurm or size then",
                        path);
    if (code == 0)
        code = recipe_secrets_read(c.recipe, err);
    if (code == 0) {
        *ret = cmd_resolve(c.recipe, cluster, true);
        *ret_dir = rwf_xstrdup(recipe_dir(c.recipe));
    }
    cmd_compiled_free(&c);
    return code;
}

/* The section that a recipe would have. */
static json_t *section(const struct cmd_call *call, struct rwf_err *err)
{
    json_t *spec = json_object(), *resources = json_object();
    int64_t size = cmd_count(call, "test-size", 0);
    set_text(resources, "cpu", cmd_text(call, "cpu", NULL));
    set_text(resources, "memory", cmd_text(call, "memory", NULL));
    set_text(resources, "gpu", cmd_text(call, "gpu", NULL));
    set_text(resources, "store", cmd_text(call, "store", NULL));
    set_text(spec, "idle_timeout", cmd_text(call, "idle-timeout", NULL));
    json_object_set_new(spec, "size", json_integer(size));
    json_object_set(spec, "resources", resources);
    int rc = 0;
    if (size < 1 || size > SIZE_MAX_TEST)
        rc = rwf_fail(err, RWF_E_USAGE,
                      "say how many nodes: --test-size=N, from 1 to %d", SIZE_MAX_TEST);
    if (rc == 0)
        rc = set_pairs(resources, "custom", call, "resource", err) ||
             set_pairs(spec, "labels", call, "label", err) ||
             set_pairs(spec, "env", call, "env", err);
    json_decref(resources);
    if (rc)
        json_decref(spec);
    return rc ? NULL : spec;
}

/* NULL: it has no TLS. What brought it up has left the paths in the environment. */
static json_t *tls_of(void)
{
    static const char *const names[WIRE_TLS_FILES] = {
        [WIRE_TLS_CERT] = "cert", [WIRE_TLS_KEY] = "key", [WIRE_TLS_CA] = "ca"};
    if (wire_tls_wanted(NULL) <= 0)
        return NULL;
    json_t *tls = json_object();
    for (int i = 0; i < WIRE_TLS_FILES; i++) {
        char *path = rwf_fs_absolute(getenv(wire_tls_variables[i]));
        json_object_set_new(tls, names[i], cmd_string(path));
        free(path);
    }
    return tls;
}

static const char *path_in(const json_t *tls, const char *name)
{
    return json_string_value(json_object_get(tls, name));
}

static void show_use(const struct cluster *c, const json_t *tls)
{
    const char *cert = path_in(tls, "cert"), *key = path_in(tls, "key"),
               *ca = path_in(tls, "ca");
    if (tls)
        printf("TLS           export RAYWF_TLS_CERT=%s RAYWF_TLS_KEY=%s RAYWF_TLS_CA=%s\n",
               cert, key, ca);
    printf("run on it     raywf run FILE --address %s --key %s\n", cluster_address(c),
           cluster_key(c));
    printf("in a recipe   cluster: {address: \"%s\", key: %s", cluster_address(c),
           cluster_key(c));
    if (tls)
        printf(", tls: {cert: %s, key: %s, ca: %s}", cert, key, ca);
    printf("}\n");
}

static void show(struct cmd_call *call, const struct cluster *c, const char *dir)
{
    call->data =
        json_pack("{s:o, s:o, s:i, s:o}", "head", cmd_string(cluster_address(c)), "key",
                  cmd_string(cluster_key(c)), "nodes", (int)cluster_size(c), "dir",
                  cmd_string(dir));
    json_t *tls = tls_of();
    if (tls)
        json_object_set_new(call->data, "tls", tls);
    if (call->json)
        return;
    if (call->quiet) {
        puts(cluster_address(c));
        return;
    }
    printf("%zu node%s and a head\n", cluster_size(c), cluster_size(c) == 1 ? "" : "s");
    show_use(c, tls);
    if (cmd_given(call, "test-size"))
        printf("a program     export RAYWF_ADDRESS=%s/nodes/local-1/node\n", dir);
    printf("look at it    raywf nodes --dir %s\n", dir);
    printf("end with      raywf shutdown --all --dir %s\n", dir);
}

static void say(void *ctx, const char *line)
{
    const struct cmd_call *call = ctx;
    if (!call->quiet && !call->json)
        fprintf(stderr, "%s\n", line);
}

/* base: of the recipe; NULL: there is none. */
static int bring_up(struct cmd_call *call, const json_t *spec, const char *base,
                    struct rwf_err *err)
{
    char *dir = cmd_daemon_dir(cmd_text(call, "dir", NULL), err);
    struct cluster_options o = {
        .folder = dir, .dir = base, .say = say, .ctx = call};
    char *head = dir ? rwf_fs_join(dir, "head") : NULL;
    struct cluster *c = NULL;
    if (dir && cmd_daemon_owner(head) != 0)
        rwf_fail(
            err, RWF_E_ENV,
            "a head runs already in %s (process %d): raywf shutdown ends it, or name "
            "another --dir",
            dir, (int)cmd_daemon_owner(head));
    else if (dir)
        c = cluster_up(spec, &o, err);
    if (c)
        show(call, c, dir);
    int rc = c ? 0 : -1;
    cluster_leave(c);
    free(head);
    free(dir);
    return rc;
}

static int up_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *path = cmd_operand(call, 0, NULL);
    json_t *spec = NULL;
    char *base = NULL;
    int code = 0;
    if (path && cmd_given(call, "test-size"))
        return rwf_fail(
            err, RWF_E_USAGE,
            "--test-size and a recipe contradict each other: one of them says "
            "what to bring up");
    if (path)
        code = section_of(call, path, &spec, &base, err);
    else
        spec = section(call, err);
    if (code == 0)
        code = spec ? bring_up(call, spec, base, err) : -1;
    json_decref(spec);
    free(base);
    return code;
}

static const struct cmd_option options[] = {
    {"test-size", 0, CMD_COUNT, "N", false, NULL,
     "so many nodes on this machine; the next options are of these"},
    {"cpu", 0, CMD_TEXT, "N", false, "the machine's, shared out", "cores of each"},
    {"memory", 0, CMD_TEXT, "SIZE", false, "the machine's, shared out", "of each"},
    {"gpu", 0, CMD_TEXT, "N", false, "all of them to the first", "GPUs of each"},
    {"store", 0, CMD_TEXT, "SIZE", false, "30 % of its memory",
     "shared memory of each for objects"},
    {"resource", 0, CMD_SETTING, "NAME=N", true, NULL, "a resource that each has"},
    {"label", 0, CMD_SETTING, "NAME=VALUE", true, NULL, "a label of each"},
    {"env", 0, CMD_SETTING, "NAME=VALUE", true, NULL,
     "a variable for all that they start"},
    {"idle-timeout", 0, CMD_DURATION, "TIME", false, NULL,
     "end all of it when nobody uses it for so long"},
    {"dir", 0, CMD_DIR, "DIR", false, "~/.local/state/raywf", "where all state is"},
    CMD_RECIPE_OPTIONS,
    {0},
};

const struct cmd cmd_up = {
    .name = "up",
    .group = CMD_EXECUTE,
    .summary =
        "start a cluster that stays: of a recipe, or N nodes here to try things out",
    .details =
        "What raywf run does for `cluster: {hosts: …}`, `{slurm: …}` and `{size: N}`, "
        "but it stays until raywf shutdown --all. Nodes of this machine are named "
        "local-1, local-2, …, and listen on loopback only.",
    .examples =
        "raywf up --test-size=3\nraywf up --test-size=2 --cpu 1 --label zone=a\n"
        "raywf up recipe.yaml --profile cluster",
    .exits = "0 2 3 6 7 9",
    .operands = {{"FILE", CMD_FILE, 0, 1}},
    .options = options,
    .run = up_run,
};
