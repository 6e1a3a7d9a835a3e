/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes on other machines, over ssh (RAYWF_SSH names another program for it): one
 * connection each, all at once, that looks whether the same raywf is there, starts the
 * node, and ends. Afterwards nothing depends on ssh. The key goes over its standard
 * input.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cluster/address.h"
#include "cluster/inside.h"

#define CONNECT_SECONDS 15
#define PROBLEMS 600 /* bytes; then those that are left are counted */
#define DOWN_TIMEOUT (30 * RWF_NS_PER_S)

enum { EXIT_NONE = 97, EXIT_OTHER = 98, EXIT_SSH = 255 }; /* of what is run there */

/* --- where the head is, for each --- */

/* ssh may know a host by a name of its own: then it is the usual way out. */
static void way_to(const struct cluster__node *n, struct cluster_interface *ret)
{
    if (cluster_interface_to(n->host, ret, NULL))
        cluster_interface_default(ret);
}

static int head_of_hosts(struct cluster *c, struct rwf_err *err)
{
    struct cluster_interface *ways = rwf_xcalloc(c->count, sizeof(*ways));
    const char *name = cluster__text(c->spec, "interface");
    struct cluster_interface named;
    bool same = true;
    int rc = 0;
    /* The nodes' interface may have another name here, or be none of ours. */
    bool ours = name && cluster_interface_named(name, &named, NULL) == 0;
    for (size_t i = 0; i < c->count; i++) {
        if (ours)
            ways[i] = named;
        else
            way_to(&c->nodes[i], &ways[i]);
        same = same && strcmp(ways[i].address, ways[0].address) == 0;
    }
    rc = cluster__head_start(c, same ? ways[0].address : "0.0.0.0", err);
    for (size_t i = 0; i < c->count && rc == 0; i++) {
        int port = atoi(strrchr(c->address, ':') + 1);
        c->nodes[i].address = cluster_address_join(ways[i].address, port);
    }
    free(ways);
    return rc;
}

/* --- ssh --- */

static void ssh_args(const struct cluster__node *n, struct cluster__child *child)
{
    const char *program = getenv("RAYWF_SSH");
    cluster__child_arg(child, "%s", program && *program ? program : "ssh");
    for (const char *const *a =
             (const char *const[]){"-T", "-x", "-o", "BatchMode=yes", "-o",
                                   "ControlMaster=no", "-o", "ControlPath=none", NULL};
         *a; a++)
        cluster__child_arg(child, "%s", *a);
    cluster__child_arg(child, "-o");
    cluster__child_arg(child, "ConnectTimeout=%d", CONNECT_SECONDS);
    if (n->port) {
        cluster__child_arg(child, "-p");
        cluster__child_arg(child, "%d", n->port);
    }
    if (n->user) {
        cluster__child_arg(child, "-l");
        cluster__child_arg(child, "%s", n->user);
    }
    cluster__child_arg(child, "--");
    cluster__child_arg(child, "%s", n->host);
}

/* Whatever shell the user has there, it is sh that reads the script. */
static void add_script(struct cluster__child *ssh, struct rwf_str *script)
{
    struct rwf_str line = {0};
    rwf_str_add(&line, "exec sh -c ");
    rwf_str_add_shell(&line, script->data);
    cluster__child_arg(ssh, "%s", line.data);
    rwf_str_free(&line);
    rwf_str_free(script);
}

static void add_words(struct rwf_str *script, const struct cluster__child *words)
{
    for (size_t i = 0; i < words->argc; i++) {
        rwf_str_addc(script, ' ');
        rwf_str_add_shell(script, words->argv[i]);
    }
}

static char *folder_of(const struct cluster *c, size_t i)
{
    return rwf_xasprintf("/tmp/raywf-%s-%zu", c->id, i);
}

static int start_args(const struct cluster *c, size_t i, struct cluster__child *ssh,
                      struct rwf_err *err)
{
    const struct cluster__node *n = &c->nodes[i];
    struct cluster__child words = {0};
    struct rwf_str script = {0}, raywf = {0};
    char *dir = folder_of(c, i);
    int rc = cluster__node_args(c, n, dir, &words, err);
    rwf_str_add_shell(&raywf, n->raywf ? n->raywf : "raywf");
    rwf_str_addf(&script,
                 "v=$(%s version 2>&1) || { echo \"$v\" >&2; exit %d; }; "
                 "[ \"$v\" = '%s' ] || { echo \"$v\"; exit %d; }; exec %s",
                 raywf.data, EXIT_NONE, PACKAGE_STRING, EXIT_OTHER, raywf.data);
    add_words(&script, &words);
    rwf_str_add(&script, " -q --temporary");
    ssh_args(n, ssh);
    add_script(ssh, &script);
    ssh->input = words.input;
    words.input = NULL;
    cluster__child_free(&words);
    rwf_str_free(&raywf);
    free(dir);
    return rc;
}

/* --- what went wrong where --- */

static void say_why(struct rwf_str *out, const struct cluster__node *n,
                    const struct cluster__child *ssh)
{
    char *why = cluster__child_why(ssh);
    const char *raywf = n->raywf ? n->raywf : "raywf", *at = n->user ? "@" : "";
    const char *user = n->user ? n->user : "";
    rwf_str_addf(out, "%shost %s: ", out->len ? "\n" : "", n->host);
    if (ssh->timed_out)
        rwf_str_add(out, "it has not answered in time: is it up, and does its firewall "
                         "let ssh through?");
    else if (ssh->status == EXIT_NONE)
        rwf_str_addf(out,
                     "%s does not run there (%s): install raywf %s, or say where it is "
                     "with `raywf: /path/raywf`",
                     raywf, why, PACKAGE_VERSION);
    else if (ssh->status == EXIT_OTHER)
        rwf_str_addf(out, "it has %s, here is %s: install the same on both",
                     ssh->out.len ? why : "another raywf", PACKAGE_STRING);
    else if (ssh->status == EXIT_SSH || ssh->status == 127 || ssh->status == 126)
        rwf_str_addf(
            out,
            "%s (this must work without a password: ssh -o BatchMode=yes %s%s%s true)",
            why, user, at, n->host);
    else
        rwf_str_addf(out, "%s", why);
    free(why);
}

int cluster__hosts_up(struct cluster *c, struct rwf_err *err)
{
    struct cluster__child *list = rwf_xcalloc(c->count, sizeof(*list));
    struct rwf_str problems = {0};
    size_t more = 0;
    cluster__say(c, "starting %zu node%s over ssh", c->count, c->count == 1 ? "" : "s");
    int rc = head_of_hosts(c, err);
    for (size_t i = 0; i < c->count && rc == 0; i++)
        rc = start_args(c, i, &list[i], err);
    if (rc == 0) {
        cluster__children_run(list, c->count, cluster__timeout(c), &cluster__stop);
        rc = cluster__check_stop(err);
    }
    for (size_t i = 0; i < c->count && rc == 0; i++)
        if (list[i].status != 0 && problems.len < PROBLEMS)
            say_why(&problems, &c->nodes[i], &list[i]);
        else
            more += list[i].status != 0;
    if (more)
        rwf_str_addf(&problems, "\nand %zu more host%s", more, more == 1 ? "" : "s");
    if (problems.len)
        rc = rwf_fail(err, RWF_E_ENV, "%s", problems.data);
    rwf_str_free(&problems);
    for (size_t i = 0; i < c->count; i++)
        cluster__child_free(&list[i]);
    free(list);
    return rc;
}

/* Those that the head could not reach any more. */
void cluster__hosts_down(struct cluster *c)
{
    struct cluster__child *list = rwf_xcalloc(c->count + 1, sizeof(*list));
    for (size_t i = 0; i < c->count; i++) {
        const struct cluster__node *n = &c->nodes[i];
        struct rwf_str script = {0};
        char *dir = folder_of(c, i);
        ssh_args(n, &list[i]);
        rwf_str_addf(&script, "[ ! -d %s ] || exec ", dir);
        rwf_str_add_shell(&script, n->raywf ? n->raywf : "raywf");
        rwf_str_addf(&script, " shutdown -q --timeout 15s --dir %s", dir);
        add_script(&list[i], &script);
        free(dir);
    }
    cluster__children_run(list, c->count, DOWN_TIMEOUT, NULL);
    for (size_t i = 0; i < c->count; i++) {
        if (list[i].status != 0) {
            char *why = cluster__child_why(&list[i]);
            cluster__say(c,
                         "node %s on host %s could not be ended (%s): it ends by "
                         "itself when its head is away for 2 minutes",
                         c->nodes[i].name, c->nodes[i].host, why);
            free(why);
        }
        cluster__child_free(&list[i]);
    }
    free(list);
}
