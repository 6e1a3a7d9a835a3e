/* SPDX-License-Identifier: Apache-2.0
 *
 * What this machine has, and what is missing for which kind of work.
 */
#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cmd/compile.h"
#include "cmd/daemon.h"
#include "cmd/doctor.h"
#include "cmd/head_find.h"
#include "cmd/resolve.h"
#include "data/duck.h"
#include "node/gpu.h"
#include "node/machine.h"
#include "run/engine.h"
#include "run/layout.h"
#include "node/proc.h"
#include "gang/gang.h"
#include "view/style.h"

void doctor_set(struct doctor_finding *f, enum doctor_level level, const char *hint)
{
    f->level = level;
    f->hint = hint;
}

static void look_raywf(struct doctor_finding *f)
{
    char *self = rwf_fs_self();

    rwf_str_addf(&f->text, "%s (%s)", PACKAGE_VERSION, self ? self : "?");
    free(self);
}

static void look_cpu(struct doctor_finding *f)
{
    struct schedule_machine m = {0};

    node_machine_quick(&m);
    rwf_str_addf(&f->text, "%g usable of %ld", m.cpu, sysconf(_SC_NPROCESSORS_ONLN));
}

static void look_memory(struct doctor_finding *f)
{
    struct schedule_machine m = {0};
    char usable[RWF_UNITS_LEN], all[RWF_UNITS_LEN];
    int64_t total = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);

    node_machine_quick(&m);
    rwf_str_addf(&f->text, "%s usable of %s", rwf_size_format(m.memory, usable),
                 rwf_size_format(total, all));
    if (m.memory < (int64_t)1 << 29)
        doctor_set(f, DOCTOR_NOTE, "under 512 MiB: give memory limits to your steps");
}

static void look_gpu(struct doctor_finding *f)
{
    const struct node_gpu *gpus;
    size_t count = node_gpus(&gpus);

    rwf_str_addf(&f->text, "%zu (%s)", count, node_gpus_source());
    if (count == 0)
        rwf_str_add(&f->text, ": steps that ask for gpu cannot run here");
    if (*node_gpus_problems() != '\0')
        doctor_set(f, DOCTOR_NOTE, node_gpus_problems());
}

static void look_limits_memory(struct doctor_finding *f)
{
    char *how = proc_memory_limits();

    rwf_str_add(&f->text,
                how ? how
                    : "none that we may write to: memory limits are kept by watching");
    if (!how)
        doctor_set(
            f, DOCTOR_NOTE,
            "a step that allocates faster than ten looks a second may overshoot; "
            "run as root, or in a systemd scope with Delegate=yes");
    free(how);
}

static void look_disk(struct doctor_finding *f)
{
    struct statvfs fs;
    char space[RWF_UNITS_LEN];

    if (statvfs(".", &fs) < 0) {
        rwf_str_addf(&f->text, "unknown: %s", strerror(errno));
        return;
    }
    int64_t available = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    rwf_str_addf(&f->text, "%s free here", rwf_size_format(available, space));
    if (access(".", W_OK) != 0)
        doctor_set(f, DOCTOR_BAD,
                   "this folder is not writable: runs are kept in .raywf next to the "
                   "recipe; set RAYWF_DIR to another place");
    else if (available < (int64_t)1 << 30)
        doctor_set(f, DOCTOR_NOTE, "under 1 GiB: raywf cache gc removes old results");
}

static void look_shm(struct doctor_finding *f)
{
    struct statvfs fs;
    char space[RWF_UNITS_LEN];

    if (statvfs("/dev/shm", &fs) < 0) {
        rwf_str_add(&f->text, "none");
        doctor_set(f, DOCTOR_NOTE,
                   "programs that share memory between processes may fail");
        return;
    }
    int64_t size = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
    rwf_str_addf(&f->text, "%s", rwf_size_format(size, space));
    if (size <= (int64_t)64 << 20)
        doctor_set(f, DOCTOR_NOTE,
                   "a container's default of 64 MiB is too small for data loaders: "
                   "docker run --shm-size=2g");
}

static void look_limits(struct doctor_finding *f)
{
    struct rlimit files, procs, locked;

    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NPROC, &procs);
    rwf_str_addf(&f->text, "open files %llu", (unsigned long long)files.rlim_cur);
    if (procs.rlim_cur == RLIM_INFINITY)
        rwf_str_add(&f->text, ", processes unlimited");
    else
        rwf_str_addf(&f->text, ", processes %llu", (unsigned long long)procs.rlim_cur);
    getrlimit(RLIMIT_MEMLOCK, &locked);
    if (locked.rlim_cur != RLIM_INFINITY)
        rwf_str_addf(&f->text, ", locked memory %llu KiB",
                     (unsigned long long)locked.rlim_cur / 1024);
    if (files.rlim_cur < 1024)
        doctor_set(f, DOCTOR_NOTE, "few open files: ulimit -n 4096");
}

static void look_duckdb(struct doctor_finding *f)
{
    struct rwf_err e = RWF_ERR_INIT;
    const char *version = duck_version(&e);

    if (version) {
        rwf_str_addf(&f->text, "%s (%s)", version, duck_library());
        return;
    }
    rwf_str_add(&f->text, e.text);
    doctor_set(f, DOCTOR_NOTE,
               "datasets cannot run without it; ./bootstrap fetches it");
}

/* Opened and closed again; the code that uses it says what it needs of it. */
static void look_library(struct doctor_finding *f, const char *const *names,
                         const char *hint)
{
    for (; *names; names++) {
        void *lib = dlopen(*names, RTLD_LAZY | RTLD_LOCAL);
        if (!lib)
            continue;
        rwf_str_add(&f->text, *names);
        dlclose(lib);
        return;
    }
    rwf_str_add(&f->text, "not found");
    doctor_set(f, DOCTOR_NOTE, hint);
}

static void look_curl(struct doctor_finding *f)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", NULL};

    look_library(f, names,
                 "no http(s):// datasets and no notifications: install libcurl4");
}

static void look_graphviz(struct doctor_finding *f)
{
    static const char *const names[] = {"libgvc.so.6", "libgvc.so.7", "libgvc.so",
                                        NULL};

    look_library(f, names, "no SVG graphs: install graphviz");
}

static void look_training(struct doctor_finding *f)
{
    struct rwf_err e = RWF_ERR_INIT;
    char *rank = gang_program(&e), *mpirun = gang_mpirun(NULL);

    rwf_str_addf(&f->text, "%s, %s", rank ? rank : "raywf-rank is not here",
                 mpirun ? mpirun : "no mpirun");
    if (!rank)
        doctor_set(f, DOCTOR_NOTE,
                   "train entries cannot run: install raywf as a whole");
    else if (!mpirun)
        doctor_set(f, DOCTOR_NOTE,
                   "train entries run with one worker: install openmpi-bin for more");
    free(mpirun);
    free(rank);
}

void doctor_print(const char *name, enum doctor_level level, const char *text,
                  const char *hint, bool color)
{
    static const struct {
        enum schedule_state mark;
        enum view_style style;
    } looks[] = {[DOCTOR_OK] = {STEP_SUCCEEDED, VIEW_GOOD},
                 [DOCTOR_NOTE] = {STEP_SKIPPED, VIEW_WARN},
                 [DOCTOR_BAD] = {STEP_FAILED, VIEW_ERROR}};

    printf("%s%s%s %-9s %s\n", view_on(color, looks[level].style),
           view_mark(looks[level].mark), view_off(color), name, text);
    if (hint)
        printf("            %s%s%s\n", view_on(color, VIEW_DIM), hint, view_off(color));
}

struct visit {
    const struct cmd_call *call;
    json_t *list;
    bool bad;
};

static void tell(struct visit *v, const char *name, struct doctor_finding *f)
{
    static const char *const levels[] = {
        [DOCTOR_OK] = "ok", [DOCTOR_NOTE] = "note", [DOCTOR_BAD] = "bad"};

    v->bad |= f->level == DOCTOR_BAD;
    json_array_append_new(v->list,
                          json_pack("{s:s, s:s, s:s, s:s?}", "name", name, "level",
                                    levels[f->level], "text",
                                    f->text.data ? f->text.data : "", "hint", f->hint));
    if (!v->call->json)
        doctor_print(name, f->level, f->text.data ? f->text.data : "", f->hint,
                     v->call->color);
    rwf_str_free(&f->text);
}

/* "NVIDIA H200, 140 GiB, 12 GiB used, 40 % busy, 2 processes (GPU-…)" */
static void describe_gpu(const struct node_gpu *gpu, const struct node_gpu_use *use,
                         struct doctor_finding *f)
{
    char size[RWF_UNITS_LEN];

    rwf_str_add(&f->text, gpu->name);
    if (gpu->memory > 0)
        rwf_str_addf(&f->text, ", %s", rwf_size_format(gpu->memory, size));
    if (use->memory >= 0)
        rwf_str_addf(&f->text, ", %s used", rwf_size_format(use->memory, size));
    if (use->busy >= 0)
        rwf_str_addf(&f->text, ", %d %% busy", use->busy);
    if (use->processes >= 0)
        rwf_str_addf(&f->text, ", %d process%s", use->processes,
                     use->processes == 1 ? "" : "es");
    rwf_str_addf(&f->text, " (%s)", gpu->uuid);
    if (*use->problem != '\0')
        doctor_set(f, DOCTOR_NOTE, use->problem);
}

static void each_gpu(struct visit *v)
{
    const struct node_gpu *gpus;
    size_t count = node_gpus(&gpus);
    struct node_gpu_use *uses = rwf_xcalloc(count + 1, sizeof(*uses));

    node_gpus_look(uses);
    for (size_t i = 0; i < count; i++) {
        struct doctor_finding f = {0};
        char name[32];

        snprintf(name, sizeof(name), "gpu %zu", i);
        describe_gpu(&gpus[i], &uses[i], &f);
        tell(v, name, &f);
    }
    free(uses);
}

static const struct {
    const char *name;
    void (*look)(struct doctor_finding *f);
    void (*each)(struct visit *v); /* what it is made of; may be NULL */
} rows[] = {
    {"raywf", look_raywf, NULL},
    {"digest", doctor_look_digest, NULL},
    {"system", doctor_look_system, NULL},
    {"host", doctor_look_host, NULL},
    {"network", doctor_look_network, NULL},
    {"cpu", look_cpu, NULL},
    {"memory", look_memory, NULL},
    {"gpu", look_gpu, each_gpu},
    {"gpu peers", doctor_look_peers, NULL},
    {"nccl", doctor_look_nccl, NULL},
    {"cgroup", look_limits_memory, NULL},
    {"disk", look_disk, NULL},
    {"/dev/shm", look_shm, NULL},
    {"limits", look_limits, NULL},
    {"duckdb", look_duckdb, NULL},
    {"libcurl", look_curl, NULL},
    {"graphviz", look_graphviz, NULL},
    {"training", look_training, NULL},
    {"open mpi", doctor_look_mpi, NULL},
};

static int doctor_here(struct cmd_call *call)
{
    struct visit v = {.call = call, .list = json_array()};
    const char *names = cmd_text(call, "resolve", NULL);

    for (size_t i = 0; i < RWF_COUNT(rows); i++) {
        struct doctor_finding f = {0};
        rows[i].look(&f);
        tell(&v, rows[i].name, &f);
        if (rows[i].each)
            rows[i].each(&v);
    }
    if (names) {
        struct doctor_finding f = {0};
        doctor_look_names(&f, names);
        tell(&v, "names", &f);
    }
    call->data = json_pack("{s:o}", "findings", v.list);
    return v.bad ? RWF_E_ENV - RWF_E_BASE : 0;
}

/* --- of a cluster --- */

static int of_head(struct cmd_call *call, struct rwf_err *err)
{
    char *address, *key;
    if (cmd_head_name(call, &address, &key, err))
        return -1;
    int rc = doctor_nodes(call, address, key, err);
    free(address);
    free(key);
    return rc;
}

static void say(void *ctx, const char *line)
{
    const struct cmd_call *call = ctx;
    if (!call->quiet && !call->json)
        fprintf(stderr, "%s\n", line);
}

/* What the recipe would run on: brought up for the look. */
static int of_recipe(struct cmd_call *call, const char *path, struct rwf_err *err)
{
    struct cmd_compiled c;
    struct cluster *up = NULL;
    json_t *spec = NULL;
    char *root = NULL;
    int code = cmd_compile(call, path, true, &c, err);
    const struct recipe_node *section =
        code == 0 ? recipe_get(recipe_root(c.recipe), "cluster") : NULL;
    if (code == 0 && (!section || section->kind != RECIPE_MAP))
        code = rwf_fail(err, RWF_E_USAGE,
                        "%s: it has no section `cluster`: raywf doctor looks at this "
                        "machine",
                        path);
    if (code == 0)
        code = recipe_secrets_read(c.recipe, err);
    if (code == 0) {
        root = run_root(recipe_dir(c.recipe));
        spec = cmd_resolve(c.recipe, section, true);
        up = cluster_up(
            spec,
            &(struct cluster_options){
                .root = root, .dir = recipe_dir(c.recipe), .say = say, .ctx = call},
            err);
        code = up ? doctor_nodes(call, cluster_address(up), cluster_key(up), err) : -1;
    }
    cluster_down(up);
    json_decref(spec);
    free(root);
    cmd_compiled_free(&c);
    return code;
}

static int doctor_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *path = cmd_operand(call, 0, NULL);

    if (path)
        return of_recipe(call, path, err);
    if (cmd_given(call, "address") || cmd_given(call, "cluster"))
        return of_head(call, err);
    if (cmd_refuse(call, "key", "without --address or --cluster", err) ||
        cmd_refuse(call, "dir", "without --cluster", err))
        return -1;
    return doctor_here(call);
}

static const struct cmd_option options[] = {
    {"cluster", 0, CMD_FLAG, NULL, false, NULL,
     "all nodes of the cluster that this machine is in"},
    CMD_HEAD_OPTIONS,
    {"resolve", 0, CMD_TEXT, "NAMES", false, NULL,
     "whether these hosts, with commas between them, have an address here"},
    CMD_RECIPE_OPTIONS,
    {0},
};

const struct cmd cmd_doctor = {
    .name = "doctor",
    .group = CMD_KEEP,
    .summary =
        "look at this machine, or all of a cluster: what there is, what is missing",
    .details = "With --cluster, --address or a recipe whose cluster is brought up for "
               "it: every "
               "node looks at its machine and measures its links to others; what "
               "differs between "
               "nodes and should not is marked, with what to do.",
    .examples = "raywf doctor\nraywf doctor --cluster\nraywf doctor recipe.yaml",
    .exits = "0 2 3 6 7",
    .operands = {{"FILE", CMD_FILE, 0, 1}},
    .options = options,
    .run = doctor_run,
};
