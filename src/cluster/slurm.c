/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes within an allocation of Slurm: a batch job whose one step runs `raywf start` on
 * each of its nodes; or, where we are in an allocation already, that step alone. The
 * job outlives this process (it is in cluster.json) and is given back with scancel. A
 * node of it that Slurm drains is drained here, too (cmd/slurm_watch.c); one that it
 * loses is lost.
 *
 * The key comes on the step's standard input, from a file in our folder.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "cluster/address.h"
#include "cluster/inside.h"

extern char **environ;

#define ASK_TIMEOUT (20 * RWF_NS_PER_S)
#define LOOK_FIRST (200 * RWF_NS_PER_MS)
#define LOOK_MAX (2 * RWF_NS_PER_S)
#define LOG_TAIL 4096

static const json_t *section(const struct cluster *c)
{
    return json_object_get(c->spec, "slurm");
}

static void words(struct cluster__child *child, const char *const *list)
{
    for (; *list; list++)
        cluster__child_arg(child, "%s", *list);
}

/* --- what each of its nodes runs --- */

/* What Slurm gives a node is in the step's environment; the recipe goes first. */
static char *node_script(const struct cluster *c, char **ret_input, struct rwf_err *err)
{
    struct cluster__node n = {.name = (char *)"NAME",
                              .interface = cluster__text(c->spec, "interface"),
                              .resources = json_object_get(c->spec, "resources"),
                              .labels = json_object_get(c->spec, "labels"),
                              .env_all = json_object_get(c->spec, "env")};
    struct cluster__child args = {0};
    struct rwf_str s = {0};
    int rc = cluster__node_args(c, &n, "DIR", &args, err);
    rwf_str_add(&s, "exec ");
    rwf_str_add_shell(&s, c->program);
    for (size_t i = 0; i < args.argc; i++) {
        const char *before = i ? args.argv[i - 1] : "";
        rwf_str_addc(&s, ' ');
        if (strcmp(before, "--name") == 0)
            rwf_str_add(&s, "\"$SLURMD_NODENAME\"");
        else if (strcmp(before, "--dir") == 0)
            rwf_str_addf(&s, "\"/tmp/raywf-%s-$SLURMD_NODENAME\"", c->id);
        else
            rwf_str_add_shell(&s, args.argv[i]);
    }
    if (!json_object_get(n.resources, "cpu"))
        rwf_str_add(&s, " ${SLURM_CPUS_ON_NODE:+--cpu \"$SLURM_CPUS_ON_NODE\"}");
    if (!json_object_get(n.resources, "memory"))
        rwf_str_add(&s,
                    " ${SLURM_MEM_PER_NODE:+--memory \"${SLURM_MEM_PER_NODE}MiB\"}");
    rwf_str_add(&s, " --label \"slurm_job=$SLURM_JOB_ID\" --temporary --foreground -q");
    *ret_input = args.input;
    args.input = NULL;
    cluster__child_free(&args);
    if (rc)
        rwf_str_free(&s);
    return rc ? NULL : rwf_str_take(&s);
}

static int write_private(const char *path, const char *text, struct rwf_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? rwf_fail(err, errno, "%s: %s", path, strerror(errno))
                    : rwf_fs_write_all(fd, text, strlen(text), err);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* The step: one task on each node of the job, none of which ends the others. */
static int step_args(const struct cluster *c, struct cluster__child *srun,
                     struct rwf_err *err)
{
    char *input = NULL, *script = node_script(c, &input, err);
    char *path = rwf_fs_join(c->folder, "input");
    int rc = script ? write_private(path, input, err) : -1;
    if (rc == 0) {
        words(srun, (const char *const[]){"srun", "--ntasks-per-node=1", "--no-kill",
                                          "--kill-on-bad-exit=0", "--wait=0", "--mem=0",
                                          "--cpu-bind=none", "--overlap", "--quiet",
                                          "--input=all", "sh", "-c", NULL});
        cluster__child_arg(srun, "%s", script);
    }
    if (input)
        explicit_bzero(input, strlen(input));
    free(input);
    free(script);
    free(path);
    return rc;
}

/* --- asking Slurm --- */

static int ask(struct cluster__child *child, const char *what, struct rwf_err *err)
{
    cluster__children_run(child, 1, ASK_TIMEOUT, &cluster__stop);
    if (child->status == 0)
        return 0;
    if (cluster__check_stop(err))
        return -1;
    char *why = cluster__child_why(child);
    if (child->status == 127)
        rwf_fail(
            err, RWF_E_ENV,
            "cluster.slurm: there is no %s here: is this a machine that submits to "
            "Slurm (Debian: slurm-client)?",
            child->argv[0]);
    else
        rwf_fail(err, RWF_E_ENV, "cluster.slurm: %s: %s", what,
                 child->timed_out ? "Slurm has not answered in time" : why);
    free(why);
    return -1;
}

/* --- the job --- */

static void add(struct cluster__child *sbatch, const char *option, char *value)
{
    if (value)
        cluster__child_arg(sbatch, "%s=%s", option, value);
    free(value);
}

static char *minutes(const char *text)
{
    int64_t ns;
    if (!text || rwf_duration_parse(text, &ns, NULL))
        return text ? rwf_xstrdup(text) : NULL;
    int64_t s = ns / RWF_NS_PER_S;
    return rwf_xasprintf("%lld:%02lld:%02lld", (long long)(s / 3600),
                         (long long)(s / 60 % 60), (long long)(s % 60));
}

static char *mebibytes(const json_t *map)
{
    char *text = cluster__amount(map, "memory"), *end;
    int64_t bytes = 0;
    if (!text)
        return NULL;
    if (rwf_size_parse(text, &bytes, NULL))
        bytes = strtoll(text, &end, 10);
    free(text);
    return rwf_xasprintf("%lldM", (long long)(bytes >> 20));
}

static void sbatch_args(const struct cluster *c, struct cluster__child *sbatch)
{
    static const struct {
        const char *option, *key;
    } plain[] = {{"--partition", "partition"},   {"--gres", "gres"},
                 {"--account", "account"},       {"--qos", "qos"},
                 {"--constraint", "constraint"}, {"--cpus-per-task", "cpus_per_task"}};
    const json_t *s = section(c), *options = json_object_get(s, "options"), *o;
    char *nodes = cluster__amount(s, "nodes");
    size_t i;
    words(sbatch,
          (const char *const[]){"sbatch", "--parsable", "--no-kill", "--no-requeue",
                                "--ntasks-per-node=1", "--job-name=raywf", NULL});
    add(sbatch, "--nodes", nodes ? nodes : rwf_xstrdup("1"));
    for (i = 0; i < RWF_COUNT(plain); i++)
        add(sbatch, plain[i].option, cluster__amount(s, plain[i].key));
    add(sbatch, "--time", minutes(cluster__text(s, "time")));
    add(sbatch, "--mem", mebibytes(s));
    add(sbatch, "--output", rwf_fs_join(c->folder, "slurm.log"));
    json_array_foreach((json_t *)options, i, o)
        cluster__child_arg(sbatch, "%s", json_string_value(o));
}

static int submit(struct cluster *c, struct rwf_err *err)
{
    struct cluster__child step = {0}, sbatch = {0};
    struct rwf_str script = {0};
    int rc = step_args(c, &step, err);
    if (rc == 0) {
        rwf_str_add(&script, "#!/bin/sh\nexec");
        for (size_t i = 0; i < step.argc; i++) {
            rwf_str_addc(&script, ' ');
            rwf_str_add_shell(&script, step.argv[i]);
        }
        rwf_str_add(&script, " < ");
        char *path = rwf_fs_join(c->folder, "input");
        rwf_str_add_shell(&script, path);
        rwf_str_addc(&script, '\n');
        free(path);
        sbatch_args(c, &sbatch);
        sbatch.input = rwf_str_take(&script);
        rc = ask(&sbatch, "the job was refused", err);
    }
    if (rc == 0) {
        /* "17" or "17;cluster" */
        c->job =
            rwf_xstrndup(sbatch.out.data ? sbatch.out.data : "",
                         strspn(sbatch.out.data ? sbatch.out.data : "", "0123456789"));
        c->job_ours = true;
        rc = *c->job ? cluster__state_write(c, err)
                     : rwf_fail(err, RWF_E_ENV, "cluster.slurm: sbatch named no job");
    }
    cluster__child_free(&step);
    cluster__child_free(&sbatch);
    return rc;
}

/* In an allocation: the step alone. It must outlive us, and Ctrl-C is not for it. */
static int start_step(struct cluster *c, struct rwf_err *err)
{
    struct cluster__child step = {0};
    if (step_args(c, &step, err)) {
        cluster__child_free(&step);
        return -1;
    }
    char *input = rwf_fs_join(c->folder, "input"),
         *log = rwf_fs_join(c->folder, "slurm.log");
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
    int rc = posix_spawnp(&pid, step.argv[0], &actions, &attr, step.argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    free(input);
    free(log);
    cluster__child_free(&step);
    return rc ? rwf_fail(err, RWF_E_ENV, "cluster.slurm: srun: %s", strerror(rc)) : 0;
}

/* --- waiting for it --- */

/* State, its reason, and how many nodes it has. */
struct job {
    char state[32], reason[96];
    unsigned nodes;
};

static int look_at_job(struct cluster *c, struct job *ret, struct rwf_err *err)
{
    struct cluster__child squeue = {0};
    *ret = (struct job){0};
    words(&squeue, (const char *const[]){"squeue", "--noheader", "--states=all",
                                         "--format=%T %D %r", "--jobs", c->job, NULL});
    int rc = ask(&squeue, "squeue", err);
    if (rc == 0 &&
        (!squeue.out.data || sscanf(squeue.out.data, "%31s %u %95[^\n]", ret->state,
                                    &ret->nodes, ret->reason) < 2))
        snprintf(ret->state, sizeof(ret->state), "GONE");
    cluster__child_free(&squeue);
    return rc;
}

static char *log_tail(const struct cluster *c)
{
    char *path = rwf_fs_join(c->folder, "slurm.log"), *tail = NULL;
    char *text = rwf_fs_read(path, 1 << 20, NULL, NULL);
    if (text && *text) {
        struct cluster__child fake = {0};
        rwf_str_add(&fake.err, text);
        tail = cluster__child_why(&fake);
        rwf_str_free(&fake.err);
    }
    free(text);
    free(path);
    return tail;
}

static int job_failed(struct cluster *c, const struct job *job, struct rwf_err *err)
{
    char *tail = log_tail(c);
    rwf_fail(err, RWF_E_ENV, "cluster.slurm: job %s is %s (%s)%s%s", c->job, job->state,
             *job->reason ? job->reason : "no reason is given", tail ? ": " : "",
             tail ? tail : "");
    free(tail);
    return -1;
}

static size_t alive_nodes(const struct cluster *c)
{
    struct cluster_at at;
    size_t i, alive = 0;
    const json_t *row;
    if (cluster_at_open(&at, c->address, c->key, NULL))
        return 0;
    json_t *nodes = cluster_ask_list(&at, "nodes", "", ASK_TIMEOUT, NULL);
    json_array_foreach(nodes, i, row) {
        const char *state = cluster__text(row, "state");
        alive += state && strcmp(state, "away") != 0 && strcmp(state, "driver") != 0;
    }
    json_decref(nodes);
    cluster_at_close(&at);
    return alive;
}

static int wait_job(struct cluster *c, struct rwf_err *err)
{
    int64_t running = 0, wait = LOOK_FIRST;
    char said[160] = "", now[160];
    for (;;) {
        struct job job;
        if (look_at_job(c, &job, err))
            return -1;
        bool runs = strcmp(job.state, "RUNNING") == 0,
             waits = strcmp(job.state, "PENDING") == 0 ||
                     strcmp(job.state, "CONFIGURING") == 0;
        snprintf(now, sizeof(now), "%s%s%s%s", job.state, runs ? "" : " (",
                 runs ? "" : job.reason, runs ? "" : ")");
        if (strcmp(now, said) != 0)
            cluster__say(c, "slurm: job %s is %s", c->job, now);
        snprintf(said, sizeof(said), "%s", now);
        if (!runs && !waits)
            return job_failed(c, &job, err);
        running = runs && !running ? rwf_clock_mono() : running;
        c->joined = runs ? alive_nodes(c) : 0;
        if (runs && job.nodes > 0 && c->joined >= job.nodes)
            return 0;
        if (running && rwf_clock_mono() - running > cluster__timeout(c))
            return rwf_fail(
                err, RWF_E_ENV,
                "cluster.slurm: %zu of the %u nodes of job %s have joined the "
                "head at %s in time: can they reach it? Name a network with "
                "`interface`",
                c->joined, job.nodes, c->job, c->address);
        nanosleep(&(struct timespec){.tv_sec = wait / RWF_NS_PER_S,
                                     .tv_nsec = wait % RWF_NS_PER_S},
                  NULL);
        if (cluster__check_stop(err))
            return -1;
        wait = runs ? LOOK_FIRST : wait * 2 < LOOK_MAX ? wait * 2 : LOOK_MAX;
    }
}

/* --- up and down --- */

static int start_head(struct cluster *c, struct rwf_err *err)
{
    const char *name = cluster__text(c->spec, "interface");
    struct cluster_interface way;
    if (!name || cluster_interface_named(name, &way, NULL))
        cluster_interface_default(&way);
    return cluster__head_start(c, way.address, err);
}

int cluster__slurm_up(struct cluster *c, struct rwf_err *err)
{
    const char *inside = getenv("SLURM_JOB_ID");
    if (start_head(c, err))
        return -1;
    if (inside && *inside) {
        c->job = rwf_xstrdup(inside);
        if (cluster__state_write(c, err) || start_step(c, err))
            return -1;
    } else if (submit(c, err)) {
        return -1;
    }
    return wait_job(c, err);
}

void cluster__slurm_down(struct cluster *c)
{
    struct cluster__child scancel = {0};
    if (!c->job || !c->job_ours)
        return;
    words(&scancel, (const char *const[]){"scancel", c->job, NULL});
    cluster__children_run(&scancel, 1, ASK_TIMEOUT, NULL);
    if (scancel.status != 0) {
        char *why = cluster__child_why(&scancel);
        cluster__say(c, "job %s of Slurm could not be given back (%s): scancel %s",
                     c->job, why, c->job);
        free(why);
    }
    cluster__child_free(&scancel);
}
