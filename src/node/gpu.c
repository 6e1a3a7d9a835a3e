/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding: the double or the driver tells what the machine has; CUDA_VISIBLE_DEVICES
 * picks from it, by the rules that CUDA itself goes by (it stops at the first name that
 * is none). Touched by the loop's thread only.
 */
#include "config.h"
#include "node/gpu.h"

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "node/nvml.h"

static struct {
    bool known;
    bool fake;
    bool own_indexes;            /* the names in `visible` are indexes that we chose */
    struct node__nvml_found all; /* first what the machine has, then what is visible */
    struct rwf_str source, problems;
} here;

static void problem(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void problem(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    rwf_str_addf(&here.problems, "%s%s", here.problems.len ? " " : "", text);
    free(text);
}

/* --- the double --- */

/* "2x24GiB": how many, how large. */
static int fake_item(const char *item, long *ret_count, int64_t *ret_memory)
{
    char *end;
    errno = 0;
    *ret_count = strtol(item, &end, 10);
    if (end == item || *end != 'x' || errno != 0 || *ret_count < 0 ||
        *ret_count > NODE_GPU_MAX)
        return -1;
    return rwf_size_parse(end + 1, ret_memory, NULL);
}

static void fake_add(long count, int64_t memory)
{
    char size[RWF_UNITS_LEN];
    for (; count > 0 && here.all.count < NODE_GPU_MAX; count--) {
        struct node_gpu *gpu = &here.all.gpus[here.all.count];
        *gpu = (struct node_gpu){.index = (int)here.all.count++, .memory = memory};
        snprintf(gpu->name, sizeof(gpu->name), "stand-in of %s",
                 rwf_size_format(memory, size));
        snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-%08x-0000-4000-8000-000000000000",
                 (unsigned)gpu->index);
    }
}

static void find_fake(const char *given)
{
    char *text = rwf_xstrdup(given), *save = NULL;
    here.fake = true;
    rwf_str_add(&here.source, "stand-ins from RAYWF_FAKE_GPUS");
    for (char *item = strtok_r(text, ",", &save); item != NULL;
         item = strtok_r(NULL, ",", &save)) {
        long count;
        int64_t memory;
        if (fake_item(item, &count, &memory) == 0)
            fake_add(count, memory);
        else
            problem("RAYWF_FAKE_GPUS: '%s' is no COUNTxSIZE such as 2x24GiB.", item);
    }
    free(text);
}

/* --- what is visible --- */

static bool is_index(const char *name)
{
    return isdigit((unsigned char)*name);
}

static const struct node_gpu *by_name(const char *name)
{
    const struct node_gpu *found = NULL;
    char *end;
    long index = strtol(name, &end, 10);
    bool number = is_index(name) && *end == '\0';
    for (size_t i = 0; i < here.all.count; i++) {
        const struct node_gpu *gpu = &here.all.gpus[i];
        if (number ? gpu->index != index : !rwf_starts_with(gpu->uuid, name))
            continue;
        if (number)
            return gpu; /* of a card cut by MIG, its first instance: as CUDA does */
        if (found != NULL)
            return NULL; /* the start of more than one */
        found = gpu;
    }
    return *name == '\0' ? NULL : found;
}

/* What is wrong with name after the count that were picked; NULL: nothing. */
static const char *name_problem(const char *name, const struct node_gpu *gpu,
                                const struct node_gpu *picked, size_t count)
{
    if (gpu == NULL)
        return "is no GPU of this machine";
    if (count > 0 && is_index(name) != is_index(picked[0].visible))
        return "comes in a list that mixes indexes and UUIDs";
    for (size_t i = 0; i < count; i++)
        if (strcmp(picked[i].uuid, gpu->uuid) == 0)
            return "is named twice";
    return NULL;
}

static void limit_to(const char *visible)
{
    struct node__nvml_found *all = &here.all;
    struct node_gpu *picked = rwf_xcalloc(NODE_GPU_MAX, sizeof(*picked));
    char *text = rwf_xstrdup(visible), *rest = text, *name;
    size_t count = 0;
    while (*text != '\0' && (name = strsep(&rest, ",")) != NULL) {
        name += strspn(name, " ");
        name[strcspn(name, " ")] = '\0';
        if (strcmp(name, "-1") == 0) /* the usual way to say: no more */
            break;
        const struct node_gpu *gpu = by_name(name);
        const char *wrong = name_problem(name, gpu, picked, count);
        if (wrong != NULL) {
            problem("CUDA_VISIBLE_DEVICES: '%s' %s; it and what follows it are not "
                    "used.",
                    name, wrong);
            break;
        }
        picked[count] = *gpu;
        snprintf(picked[count++].visible, sizeof(picked->visible), "%.95s", name);
    }
    memcpy(all->gpus, picked, sizeof(*picked) * NODE_GPU_MAX);
    all->count = count;
    free(picked);
    free(text);
}

/* CUDA may count the fastest card first; which index is which is then not ours to know.
 */
static void doubt_indexes(const char *visible)
{
    const char *order = getenv("CUDA_DEVICE_ORDER");
    const struct node__nvml_found *all = &here.all;
    bool mixed = false;
    for (size_t i = 1; i < all->count; i++)
        mixed |= strcmp(all->gpus[i].name, all->gpus[0].name) != 0;
    if (mixed && !here.fake && is_index(visible) &&
        (order == NULL || strcmp(order, "PCI_BUS_ID") != 0))
        problem("CUDA_VISIBLE_DEVICES names cards of different kinds by index: set "
                "CUDA_DEVICE_ORDER=PCI_BUS_ID, or their memory may be mixed up.");
}

static void name_all(void)
{
    for (size_t i = 0; i < here.all.count; i++) {
        struct node_gpu *gpu = &here.all.gpus[i];
        if (here.all.by_uuid)
            memcpy(gpu->visible, gpu->uuid, sizeof(gpu->visible));
        else
            snprintf(gpu->visible, sizeof(gpu->visible), "%d", gpu->index);
    }
    here.own_indexes = !here.all.by_uuid && here.all.count > 0;
}

/* --- finding them --- */

static int device_files(void)
{
    glob_t found;
    int count =
        glob("/dev/nvidia[0-9]*", 0, NULL, &found) == 0 ? (int)found.gl_pathc : 0;
    globfree(&found);
    return count;
}

/* A container may have been given the cards without the library that tells of them. */
static void find_by_files(const char *why)
{
    int count = device_files();
    if (count == 0) {
        rwf_str_add(&here.source, getenv("RAYWF_NVML") ? why : "no NVIDIA driver here");
        return;
    }
    rwf_str_add(&here.source, "device files");
    problem("The memory of the GPUs is not known: %s.", why);
    for (int i = 0; i < count && i < NODE_GPU_MAX; i++) {
        struct node_gpu *gpu = &here.all.gpus[here.all.count++];
        *gpu = (struct node_gpu){.index = i};
        snprintf(gpu->name, sizeof(gpu->name), "of unknown kind");
        snprintf(gpu->uuid, sizeof(gpu->uuid), "/dev/nvidia%d", i);
    }
}

static void find(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *fake = getenv("RAYWF_FAKE_GPUS");
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    here.known = true;
    rwf_str_add(&here.problems, "");
    if (fake != NULL) {
        find_fake(fake);
    } else if (node__nvml_find(&here.all, &here.source, &here.problems, &err) < 0) {
        if (err.code == ENOENT)
            find_by_files(err.text);
        else
            problem("No GPU can be used: %s.", err.text);
        if (here.source.len == 0)
            rwf_str_add(&here.source, "the driver does not answer");
    }
    if (visible != NULL) {
        doubt_indexes(visible);
        limit_to(visible);
        rwf_str_add(&here.source, ", limited by CUDA_VISIBLE_DEVICES");
    } else {
        name_all();
    }
}

size_t node_gpus(const struct node_gpu **ret)
{
    if (!here.known)
        find();
    *ret = here.all.gpus;
    return here.all.count;
}

const char *node_gpus_source(void)
{
    const struct node_gpu *gpus;
    node_gpus(&gpus);
    return here.source.data;
}

const char *node_gpus_problems(void)
{
    const struct node_gpu *gpus;
    node_gpus(&gpus);
    return here.problems.data;
}

void node_gpus_look(struct node_gpu_use *ret)
{
    const struct node_gpu *gpus;
    size_t count = node_gpus(&gpus);
    for (size_t i = 0; i < count; i++)
        ret[i] = (struct node_gpu_use){.memory = -1, .busy = -1, .processes = -1};
    for (size_t i = 0; here.fake && i < count; i++)
        ret[i] = (struct node_gpu_use){0};
    if (!here.fake && count > 0)
        node__nvml_look(gpus, count, ret);
}

int node_gpus_peers(bool *ret)
{
    const struct node_gpu *gpus;
    size_t count = node_gpus(&gpus);
    return here.fake || count == 0 ? -1 : node__nvml_peers(gpus, count, ret);
}

int node_gpus_guess(void)
{
    const struct node_gpu *gpus;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (here.known || getenv("RAYWF_FAKE_GPUS") != NULL)
        return (int)node_gpus(&gpus);
    int count = device_files(), named = visible != NULL && *visible != '\0';
    for (const char *c = visible; c != NULL && *c != '\0'; c++)
        named += *c == ',';
    return visible != NULL && named < count ? named : count;
}

/* --- handing them on --- */

void node_gpu_env(const int *ids, int count, double share,
                  void (*set)(void *ctx, const char *name, const char *value),
                  void *ctx)
{
    const struct node_gpu *gpus = NULL;
    size_t known = count > 0 ? node_gpus(&gpus) : 0;
    int64_t memory = INT64_MAX; /* on each: of the smallest */
    struct rwf_str names = {0};
    char text[32];
    rwf_str_add(&names, "");
    for (int i = 0; i < count; i++) {
        const struct node_gpu *gpu = (size_t)ids[i] < known ? &gpus[ids[i]] : NULL;
        if (gpu != NULL)
            rwf_str_addf(&names, "%s%s", i ? "," : "", gpu->visible);
        else
            rwf_str_addf(&names, "%s%d", i ? "," : "", ids[i]);
        if (gpu == NULL || gpu->memory < memory)
            memory = gpu == NULL ? 0 : gpu->memory;
    }
    set(ctx, "CUDA_VISIBLE_DEVICES", names.data);
    rwf_str_free(&names);
    if (count == 0)
        return;
    if (here.own_indexes)
        set(ctx, "CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    snprintf(text, sizeof(text), "%.6g", share);
    set(ctx, "RAYWF_GPU_FRACTION", text);
    if (memory > 0) {
        snprintf(text, sizeof(text), "%" PRId64, (int64_t)((double)memory * share));
        set(ctx, "RAYWF_GPU_MEMORY", text);
    }
}
