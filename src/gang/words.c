/* SPDX-License-Identifier: Apache-2.0
 *
 * What mpirun is told of a gang over several nodes. Its daemons are started by `raywf
 * agent`, stay its children's children (no daemon leaves its session), and talk over
 * the network that leads to all nodes. Nodes are called raywf-N, N being their number
 * in the gang: Open MPI is to look nothing up, since several of them may be one
 * machine, and names of a cluster need not be names of hosts.
 */
#include "config.h"
#include "gang/inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"

static const char *const options =
    "--bind-to none --map-by slot --leave-session-attached --quiet -x RAYWF_GANG "
    "-x RAYWF_GANG_KEY";

/* The scheduler says what a rank may use, so one that waits gives way. */
static const struct {
    const char *name, *value;
} parameters[] = {
    {"plm", "rsh"},
    {"plm_rsh_no_tree_spawn", "1"},
    {"plm_rsh_num_concurrent", "4096"},
    {"if_base_do_not_resolve", "1"},
    {"opal_if_do_not_resolve", "1"},
    {"mpi_yield_when_idle", "1"},
    {"pml", "ob1"},
    {"btl", "self,vader,tcp"},
    {"btl_base_warn_component_unused", "0"},
};

struct words {
    char **list;
    size_t count, cap;
};

static void add(struct words *w, const char *word)
{
    *RWF_PUSH(w->list, w->count, w->cap) = word == NULL ? NULL : rwf_xstrdup(word);
}

static void add_mca(struct words *w, const char *name, const char *value)
{
    add(w, "--mca");
    add(w, name);
    add(w, value);
}

static void add_options(struct words *w)
{
    char *copy = rwf_xstrdup(options), *save = NULL;

    for (char *word = strtok_r(copy, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save))
        add(w, word);
    free(copy);
    for (size_t i = 0; i < RWF_COUNT(parameters); i++)
        add_mca(w, parameters[i].name, parameters[i].value);
}

/* rank 0's node is where mpirun runs. */
static char *write_hosts(const struct gang *g, struct rwf_err *err)
{
    char *path = rwf_fs_join(g->dir, "mpirun.hosts");
    struct rwf_str text = {NULL, 0, 0};

    rwf_str_addf(&text, "localhost slots=%d\n", g->places->nodes[0].count);
    for (int i = 1; i < g->places->count; i++)
        rwf_str_addf(&text, "raywf-%d slots=%d\n", i, g->places->nodes[i].count);
    if (rwf_fs_write(path, text.data, text.len, false, err) != 0) {
        free(path);
        path = NULL;
    }
    rwf_str_free(&text);
    return path;
}

char **gang__mpi_words(const struct gang__run *x, struct rwf_err *err)
{
    struct words w = {NULL, 0, 0};
    char *hosts = write_hosts(x->g, err), *self = rwf_fs_self();
    char *network = gang_places_network(x->g->places);

    if (self != NULL && strpbrk(self, " \t") != NULL)
        rwf_fail(err, RWF_E_ENV,
                 "mpirun cannot start %s: there is a space in its path; install raywf "
                 "elsewhere",
                 self);
    else if (hosts != NULL) {
        char *agent = rwf_xasprintf("%s agent --", self);
        add_options(&w);
        add(&w, "--hostfile");
        add(&w, hosts);
        add_mca(&w, "plm_rsh_agent", agent);
        if (network != NULL) {
            add_mca(&w, "oob_tcp_if_include", network);
            add_mca(&w, "btl_tcp_if_include", network);
        }
        add(&w, NULL);
        free(agent);
    }
    free(network);
    free(self);
    free(hosts);
    return w.list;
}

void gang__words_free(char **words)
{
    for (size_t i = 0; words != NULL && words[i] != NULL; i++)
        free(words[i]);
    free(words);
}

/* "mpirun (Open MPI) 4.1.4" */
char *gang__mpi_version(const char *mpirun)
{
    struct rwf_str command = {NULL, 0, 0};
    char line[200] = "";

    rwf_str_add_shell(&command, mpirun);
    rwf_str_add(&command, " --version 2>/dev/null");
    FILE *f = popen(command.data, "re");
    if (f != NULL && fgets(line, sizeof(line), f) == NULL)
        line[0] = '\0';
    if (f != NULL)
        pclose(f);
    rwf_str_free(&command);
    line[strcspn(line, "\n")] = '\0';
    const char *space = strrchr(line, ' ');
    return rwf_xstrdup(space == NULL ? line : space + 1);
}
