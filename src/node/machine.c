/* SPDX-License-Identifier: Apache-2.0
 *
 * What this machine has for us: the cores we may run on, and the memory our cgroup
 * leaves us; its GPUs (gpu.h); custom resources from RAYWF_RESOURCES.
 */
#include "config.h"
#include "node/machine.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "node/gpu.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define CUSTOM_MAX 32

/* Calls fn with the text of file for our cgroup and each above it. */
static void each_cgroup(const char *file, void (*fn)(void *ctx, const char *text),
                        void *ctx)
{
    char *own = rwf_fs_read("/proc/self/cgroup", 65536, NULL, NULL);
    char *line = own == NULL ? NULL : strstr(own, "0::/");
    char *path = rwf_xstrdup(line == NULL ? "/" : line + 3);
    path[strcspn(path, "\n")] = '\0';
    for (;;) {
        char *name = rwf_xasprintf("%s%s/%s", CGROUP_ROOT, path, file);
        char *text = rwf_fs_read(name, 4096, NULL, NULL);
        if (text != NULL)
            fn(ctx, text);
        free(text);
        free(name);
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            break;
        *slash = '\0';
    }
    free(path);
    free(own);
}

static void lower_cpu(void *ctx, const char *text)
{
    double quota, period, *cpu = ctx;
    if (sscanf(text, "%lf %lf", &quota, &period) == 2 && period > 0 && quota > 0 &&
        quota / period < *cpu)
        *cpu = quota / period;
}

static double cpus(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    double cpu = sched_getaffinity(0, sizeof(set), &set) == 0
                     ? (double)CPU_COUNT(&set)
                     : (double)sysconf(_SC_NPROCESSORS_ONLN);
    each_cgroup("cpu.max", lower_cpu, &cpu);
    return cpu > 0 ? cpu : 1;
}

static void lower_memory(void *ctx, const char *text)
{
    long long limit;
    int64_t *memory = ctx;
    if (sscanf(text, "%lld", &limit) == 1 && limit > 0 && limit < *memory)
        *memory = limit;
}

static int64_t memory_bytes(void)
{
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE);
    each_cgroup("memory.max", lower_memory, &memory);
    return memory;
}

/* RAYWF_RESOURCES="license=2,disk=0.5" */
static size_t custom(const char **names, double *amounts)
{
    const char *given = getenv("RAYWF_RESOURCES");
    static char *text;
    char *save = NULL;
    size_t count = 0;
    if (given == NULL)
        return 0;
    free(text);
    text = rwf_xstrdup(given);
    for (char *item = strtok_r(text, ",", &save); item != NULL && count < CUSTOM_MAX;
         item = strtok_r(NULL, ",", &save)) {
        char *equals = strchr(item, '='), *end;
        double amount = equals == NULL ? -1 : strtod(equals + 1, &end);
        if (equals == NULL || equals == item || end == equals + 1 || *end != '\0' ||
            !(amount >= 0)) {
            rwf_log(RWF_LOG_WARN, "node", "RAYWF_RESOURCES: '%s' is no NAME=AMOUNT",
                    item);
            continue;
        }
        *equals = '\0';
        names[count] = item;
        amounts[count++] = amount;
    }
    return count;
}

void node_machine_quick(struct schedule_machine *ret)
{
    static char name[256];
    static const char *names[CUSTOM_MAX];
    static double amounts[CUSTOM_MAX];
    if (gethostname(name, sizeof(name) - 1) != 0)
        strcpy(name, "localhost");
    *ret = (struct schedule_machine){.name = name,
                                     .cpu = cpus(),
                                     .memory = memory_bytes(),
                                     .gpu_count = node_gpus_guess(),
                                     .custom_names = names,
                                     .custom_amounts = amounts};
    ret->custom_count = custom(names, amounts);
}

void node_machine(struct schedule_machine *ret)
{
    static int64_t memory[NODE_GPU_MAX];
    static bool told;
    const struct node_gpu *gpus;
    node_machine_quick(ret);
    ret->gpu_count = (int)node_gpus(&gpus);
    if (!told && *node_gpus_problems() != '\0')
        rwf_log(RWF_LOG_WARN, "node", "%s", node_gpus_problems());
    told = true;
    for (int i = 0; i < ret->gpu_count; i++)
        memory[i] = gpus[i].memory;
    ret->gpu_memory = memory;
}

void node_machine_for(const struct plan_graph *g, struct schedule_machine *ret)
{
    for (uint32_t i = 0; i < plan_graph_count(g); i++)
        if (plan_graph_step(g, i)->policy->gpu > 0) {
            node_machine(ret);
            return;
        }
    node_machine_quick(ret);
}
