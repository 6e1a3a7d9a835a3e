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
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cmd/cmd.h"
#include "data/duck.h"
#include "node/gpu.h"
#include "node/machine.h"
#include "run/engine.h"
#include "node/proc.h"
#include "train/gang.h"
#include "view/style.h"

enum level { OK, NOTE, BAD };

struct finding {
    enum level level;
    struct rwf_str text;
    const char *hint; /* what to do; NULL: nothing */
};

static void set(struct finding *f, enum level level, const char *hint)
{
    f->level = level;
    f->hint = hint;
}

static void look_raywf(struct finding *f)
{
    struct utsname os;
    char *self = rwf_fs_self();

    uname(&os);
    rwf_str_addf(&f->text, "%s (%s), %s %s %s", PACKAGE_VERSION, self ? self : "?",
                 os.sysname, os.release, os.machine);
    free(self);
}

static void look_cpu(struct finding *f)
{
    struct schedule_machine m = {0};

    node_machine_quick(&m);
    rwf_str_addf(&f->text, "%g usable of %ld", m.cpu, sysconf(_SC_NPROCESSORS_ONLN));
}

static void look_memory(struct finding *f)
{
    struct schedule_machine m = {0};
    char usable[RWF_UNITS_LEN], all[RWF_UNITS_LEN];
    int64_t total = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);

    node_machine_quick(&m);
    rwf_str_addf(&f->text, "%s usable of %s", rwf_size_format(m.memory, usable),
                 rwf_size_format(total, all));
    if (m.memory < (int64_t)1 << 29)
        set(f, NOTE, "under 512 MiB: give memory limits to your steps");
}

static void look_gpu(struct finding *f)
{
    const struct node_gpu *gpus;
    size_t count = node_gpus(&gpus);

    rwf_str_addf(&f->text, "%zu (%s)", count, node_gpus_source());
    if (count == 0)
        rwf_str_add(&f->text, ": steps that ask for gpu cannot run here");
    if (*node_gpus_problems() != '\0')
        set(f, NOTE, node_gpus_problems());
}

static void look_limits_memory(struct finding *f)
{
    char *how = proc_memory_limits();

    rwf_str_add(&f->text,
                how ? how
                    : "none that we may write to: memory limits are kept by watching");
    if (!how)
        set(f, NOTE,
            "a step that allocates faster than ten looks a second may overshoot; "
            "run as root, or in a systemd scope with Delegate=yes");
    free(how);
}

static void look_disk(struct finding *f)
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
        set(f, BAD,
            "this folder is not writable: runs are kept in .raywf next to the "
            "recipe; set RAYWF_DIR to another place");
    else if (available < (int64_t)1 << 30)
        set(f, NOTE, "under 1 GiB: raywf cache gc removes old results");
}

static void look_shm(struct finding *f)
{
    struct statvfs fs;
    char space[RWF_UNITS_LEN];

    if (statvfs("/dev/shm", &fs) < 0) {
        rwf_str_add(&f->text, "none");
        set(f, NOTE, "programs that share memory between processes may fail");
        return;
    }
    int64_t size = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
    rwf_str_addf(&f->text, "%s", rwf_size_format(size, space));
    if (size <= (int64_t)64 << 20)
        set(f, NOTE,
            "a container's default of 64 MiB is too small for data loaders: "
            "docker run --shm-size=2g");
}

static void look_limits(struct finding *f)
{
    struct rlimit files, procs;

    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NPROC, &procs);
    rwf_str_addf(&f->text, "open files %llu", (unsigned long long)files.rlim_cur);
    if (procs.rlim_cur == RLIM_INFINITY)
        rwf_str_add(&f->text, ", processes unlimited");
    else
        rwf_str_addf(&f->text, ", processes %llu", (unsigned long long)procs.rlim_cur);
    if (files.rlim_cur < 1024)
        set(f, NOTE, "few open files: ulimit -n 4096");
}

static void look_duckdb(struct finding *f)
{
    struct rwf_err e = RWF_ERR_INIT;
    const char *version = duck_version(&e);

    if (version) {
        rwf_str_addf(&f->text, "%s (%s)", version, duck_library());
        return;
    }
    rwf_str_add(&f->text, e.text);
    set(f, NOTE, "datasets cannot run without it; ./bootstrap fetches it");
}

/* Opened and closed again; the code that uses it says what it needs of it. */
static void look_library(struct finding *f, const char *const *names, const char *hint)
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
    set(f, NOTE, hint);
}

static void look_curl(struct finding *f)
{
    static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4", NULL};

    look_library(f, names,
                 "no http(s):// datasets and no notifications: install libcurl4");
}

static void look_graphviz(struct finding *f)
{
    static const char *const names[] = {"libgvc.so.6", "libgvc.so.7", "libgvc.so",
                                        NULL};

    look_library(f, names, "no SVG graphs: install graphviz");
}

static void look_training(struct finding *f)
{
    struct rwf_err e = RWF_ERR_INIT;
    char *rank = gang_program(&e), *mpirun = gang_mpirun(NULL);

    rwf_str_addf(&f->text, "%s, %s", rank ? rank : "raywf-rank is not here",
                 mpirun ? mpirun : "no mpirun");
    if (!rank)
        set(f, NOTE, "train entries cannot run: install raywf as a whole");
    else if (!mpirun)
        set(f, NOTE, "train entries run with one worker: install openmpi-bin for more");
    free(mpirun);
    free(rank);
}

static void print_finding(const char *name, const struct finding *f, bool color)
{
    static const struct {
        enum schedule_state mark;
        enum view_style style;
    } looks[] = {[OK] = {STEP_SUCCEEDED, VIEW_GOOD},
                 [NOTE] = {STEP_SKIPPED, VIEW_WARN},
                 [BAD] = {STEP_FAILED, VIEW_ERROR}};

    printf("%s%s%s %-9s %s\n", view_on(color, looks[f->level].style),
           view_mark(looks[f->level].mark), view_off(color), name, f->text.data);
    if (f->hint)
        printf("            %s%s%s\n", view_on(color, VIEW_DIM), f->hint,
               view_off(color));
}

struct visit {
    const struct cmd_call *call;
    json_t *list;
    bool bad;
};

static void tell(struct visit *v, const char *name, struct finding *f)
{
    static const char *const levels[] = {[OK] = "ok", [NOTE] = "note", [BAD] = "bad"};

    v->bad |= f->level == BAD;
    json_array_append_new(v->list, json_pack("{s:s, s:s, s:s, s:s?}", "name", name,
                                             "level", levels[f->level], "text",
                                             f->text.data ? f->text.data : "", "hint",
                                             f->hint));
    if (!v->call->json)
        print_finding(name, f, v->call->color);
    rwf_str_free(&f->text);
}

/* "NVIDIA H200, 140 GiB, 12 GiB used, 40 % busy, 2 processes (GPU-…)" */
static void describe_gpu(const struct node_gpu *gpu, const struct node_gpu_use *use,
                         struct finding *f)
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
        set(f, NOTE, use->problem);
}

static void each_gpu(struct visit *v)
{
    const struct node_gpu *gpus;
    size_t count = node_gpus(&gpus);
    struct node_gpu_use *uses = rwf_xcalloc(count + 1, sizeof(*uses));

    node_gpus_look(uses);
    for (size_t i = 0; i < count; i++) {
        struct finding f = {0};
        char name[32];

        snprintf(name, sizeof(name), "gpu %zu", i);
        describe_gpu(&gpus[i], &uses[i], &f);
        tell(v, name, &f);
    }
    free(uses);
}

static const struct {
    const char *name;
    void (*look)(struct finding *f);
    void (*each)(struct visit *v); /* what it is made of; may be NULL */
} rows[] = {
    {"raywf", look_raywf, NULL},          {"cpu", look_cpu, NULL},
    {"memory", look_memory, NULL},        {"gpu", look_gpu, each_gpu},
    {"cgroup", look_limits_memory, NULL}, {"disk", look_disk, NULL},
    {"/dev/shm", look_shm, NULL},         {"limits", look_limits, NULL},
    {"duckdb", look_duckdb, NULL},        {"libcurl", look_curl, NULL},
    {"graphviz", look_graphviz, NULL},    {"training", look_training, NULL},
};

static int doctor_run(struct cmd_call *call, struct rwf_err *err)
{
    struct visit v = {.call = call, .list = json_array()};

    (void)err;
    for (size_t i = 0; i < RWF_COUNT(rows); i++) {
        struct finding f = {0};
        rows[i].look(&f);
        tell(&v, rows[i].name, &f);
        if (rows[i].each)
            rows[i].each(&v);
    }
    call->data = json_pack("{s:o}", "findings", v.list);
    return v.bad ? RWF_E_ENV - RWF_E_BASE : 0;
}

const struct cmd cmd_doctor = {
    .name = "doctor",
    .group = CMD_KEEP,
    .summary = "look at this machine: what raywf can use, and what is missing",
    .exits = "0 7",
    .run = doctor_run,
};
