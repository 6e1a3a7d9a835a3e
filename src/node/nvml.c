/* SPDX-License-Identifier: Apache-2.0
 *
 * The library is part of the driver, and the two must fit: a library without a working
 * driver is usual in images built elsewhere, so each failure says which it was. A card
 * that fails is left out and named; the others stay usable. Its types are declared here
 * as its documentation states them, so no header of it is needed to build.
 */
#include "config.h"
#include "node/nvml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/dl.h"
#include "base/mem.h"

typedef void *nvml_device; /* theirs: a pointer to something never shown */

enum {
    NVML_OK = 0,
    NVML_NOT_SUPPORTED = 3,
    NVML_TOO_SMALL = 7,
    NVML_NO_DRIVER = 9,
    NVML_LOST = 15,
    NVML_NEEDS_RESET = 16,
    NVML_MISMATCH = 18,
};

struct nvml_memory {
    unsigned version;
    unsigned long long total, reserved, unused, used;
};
#define NVML_MEMORY_INIT                                                               \
    {                                                                                  \
        .version = sizeof(struct nvml_memory) | 2U << 24                               \
    }

struct nvml_busy {
    unsigned gpu, memory; /* percent */
};

static struct {
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error)(int code);
    int (*driver)(char *out, unsigned size);
    int (*cuda)(int *version);
    int (*count)(unsigned *count);
    int (*by_index)(unsigned index, nvml_device *device);
    int (*by_uuid)(const char *uuid, nvml_device *device);
    int (*uuid)(nvml_device device, char *out, unsigned size);
    int (*name)(nvml_device device, char *out, unsigned size);
    int (*memory)(nvml_device device, struct nvml_memory *memory);
    int (*busy)(nvml_device device, struct nvml_busy *busy);
    int (*processes)(nvml_device device, unsigned *count, void *infos);
    int (*mig_mode)(nvml_device device, unsigned *now, unsigned *later);
    int (*mig_max)(nvml_device device, unsigned *count);
    int (*mig_device)(nvml_device device, unsigned index, nvml_device *instance);
} api;

static int load(struct rwf_err *err)
{
    static const struct rwf_dl_symbol symbols[] = {
        {"nvmlInit_v2", &api.init},
        {"nvmlShutdown", &api.shutdown},
        {"nvmlErrorString", &api.error},
        {"nvmlSystemGetDriverVersion", &api.driver},
        {"nvmlSystemGetCudaDriverVersion", &api.cuda},
        {"nvmlDeviceGetCount_v2", &api.count},
        {"nvmlDeviceGetHandleByIndex_v2", &api.by_index},
        {"nvmlDeviceGetHandleByUUID", &api.by_uuid},
        {"nvmlDeviceGetUUID", &api.uuid},
        {"nvmlDeviceGetName", &api.name},
        {"nvmlDeviceGetMemoryInfo_v2", &api.memory},
        {"nvmlDeviceGetUtilizationRates", &api.busy},
        {"nvmlDeviceGetComputeRunningProcesses", &api.processes},
        {"nvmlDeviceGetMigMode", &api.mig_mode},
        {"nvmlDeviceGetMaxMigDeviceCount", &api.mig_max},
        {"nvmlDeviceGetMigDeviceHandleByIndex", &api.mig_device},
    };
    static int loaded; /* 0: not tried, 1: yes, -1: no */
    static struct rwf_err why = RWF_ERR_INIT;
    if (loaded == 0) {
        const char *given = getenv("RAYWF_NVML");
        const char *names[] = {given ? given : "libnvidia-ml.so.1", NULL};
        loaded = rwf_dl_open(names, symbols, RWF_COUNT(symbols), &why) == 0 ? 1 : -1;
        if (loaded < 0 && api.init == NULL) /* not one symbol: it is not there */
            why.code = ENOENT;
    }
    return loaded > 0 ? 0 : rwf_fail(err, why.code, "%s", why.text);
}

static const char *what_to_do(int code)
{
    static const struct {
        int code;
        const char *text;
    } table[] = {
        {NVML_NO_DRIVER,
         ": load the kernel module (modprobe nvidia), or in a container "
         "pass the GPUs on (docker run --gpus all)"},
        {NVML_MISMATCH,
         ": the driver was updated under a running kernel module; reboot, "
         "or load the new module"},
        {NVML_LOST, ": it fell off the bus; reboot the machine, and look at "
                    "`dmesg | grep Xid`"},
        {NVML_NEEDS_RESET, ": reset it with nvidia-smi -r, or reboot"},
    };
    for (size_t i = 0; i < RWF_COUNT(table); i++)
        if (table[i].code == code)
            return table[i].text;
    return "";
}

static int nvml_fail(struct rwf_err *err, int code, const char *what)
{
    return rwf_fail(err, RWF_E_ENV, "%s: %s%s", what, api.error(code),
                    what_to_do(code));
}

static int begin(struct rwf_err *err)
{
    if (load(err) < 0)
        return -1;
    int code = api.init();
    return code == NVML_OK ? 0 : nvml_fail(err, code, "the NVIDIA driver");
}

/* --- finding them --- */

static int describe(nvml_device device, struct node_gpu *ret)
{
    struct nvml_memory memory = NVML_MEMORY_INIT;
    int code = api.uuid(device, ret->uuid, sizeof(ret->uuid));
    if (code == NVML_OK)
        code = api.name(device, ret->name, sizeof(ret->name));
    if (code != NVML_OK)
        return code;
    code = api.memory(device, &memory);
    if (code == NVML_OK)
        ret->memory = (int64_t)(memory.total - memory.reserved); /* CUDA's total */
    /* Some chips share the machine's memory and have none of their own to tell of. */
    return code == NVML_NOT_SUPPORTED ? NVML_OK : code;
}

static void leave_out(unsigned index, int code, struct rwf_str *problems)
{
    rwf_str_addf(problems, "%sGPU %u is not offered: %s%s.", problems->len ? " " : "",
                 index, api.error(code), what_to_do(code));
}

static int add(struct node__nvml_found *found, nvml_device device, unsigned index)
{
    struct node_gpu *gpu = &found->gpus[found->count];
    if (found->count == NODE_GPU_MAX)
        return NVML_OK;
    *gpu = (struct node_gpu){.index = (int)index};
    int code = describe(device, gpu);
    found->count += code == NVML_OK;
    return code;
}

/* The instances of a card that MIG cuts up. */
static int add_instances(struct node__nvml_found *found, nvml_device card,
                         unsigned index)
{
    unsigned most = 0;
    nvml_device instance;
    found->by_uuid = true;
    int code = api.mig_max(card, &most);
    for (unsigned i = 0; code == NVML_OK && i < most; i++)
        if (api.mig_device(card, i, &instance) == NVML_OK) /* else: not cut there */
            code = add(found, instance, index);
    return code;
}

static void add_card(struct node__nvml_found *found, unsigned index,
                     struct rwf_str *problems)
{
    nvml_device card;
    unsigned mig = 0, later;
    int code = api.by_index(index, &card);
    if (code == NVML_OK && api.mig_mode(card, &mig, &later) != NVML_OK)
        mig = 0;
    if (code == NVML_OK)
        code = mig ? add_instances(found, card, index) : add(found, card, index);
    if (code == NVML_OK)
        return;
    found->by_uuid = true; /* CUDA does not count it: indexes shift */
    leave_out(index, code, problems);
}

static void add_versions(struct rwf_str *source)
{
    char driver[96] = "?";
    int cuda = 0;
    api.driver(driver, sizeof(driver));
    rwf_str_addf(source, "driver %s", driver);
    if (api.cuda(&cuda) == NVML_OK)
        rwf_str_addf(source, ", CUDA %d.%d", cuda / 1000, cuda % 1000 / 10);
}

int node__nvml_find(struct node__nvml_found *ret, struct rwf_str *source,
                    struct rwf_str *problems, struct rwf_err *err)
{
    unsigned count = 0;
    if (begin(err) < 0)
        return -1;
    int code = api.count(&count);
    if (code == NVML_OK) {
        add_versions(source);
        for (unsigned i = 0; i < count; i++)
            add_card(ret, i, problems);
    }
    api.shutdown();
    return code == NVML_OK ? 0 : nvml_fail(err, code, "the NVIDIA driver");
}

/* --- how they are used --- */

static void look(const struct node_gpu *gpu, struct node_gpu_use *ret)
{
    struct nvml_memory memory = NVML_MEMORY_INIT;
    struct nvml_busy busy;
    nvml_device device;
    unsigned count = 0;
    int code = api.by_uuid(gpu->uuid, &device);
    if (code == NVML_OK) {
        code = api.memory(device, &memory);
        if (code == NVML_OK)
            ret->memory = (int64_t)memory.used;
        else if (code == NVML_NOT_SUPPORTED)
            code = NVML_OK;
    }
    if (code != NVML_OK) {
        snprintf(ret->problem, sizeof(ret->problem), "%s%s", api.error(code),
                 what_to_do(code));
        return;
    }
    if (api.busy(device, &busy) == NVML_OK)
        ret->busy = (int)busy.gpu;
    /* Asked with no room for the list, it tells its length. */
    code = api.processes(device, &count, NULL);
    if (code == NVML_OK || code == NVML_TOO_SMALL)
        ret->processes = (int)count;
}

void node__nvml_look(const struct node_gpu *gpus, size_t count,
                     struct node_gpu_use *ret)
{
    struct rwf_err err = RWF_ERR_INIT;
    int rc = begin(&err);
    for (size_t i = 0; i < count; i++) {
        if (rc == 0)
            look(&gpus[i], &ret[i]);
        else
            snprintf(ret[i].problem, sizeof(ret[i].problem), "%.150s", err.text);
    }
    if (rc == 0)
        api.shutdown();
}

/* --- who reaches whose memory --- */

#define P2P_READ 0 /* which of the ways is asked about */

static int load_peers(int (**ret)(nvml_device, nvml_device, int, int *))
{
    static int (*status)(nvml_device, nvml_device, int, int *);
    const struct rwf_dl_symbol symbols[] = {{"nvmlDeviceGetP2PStatus", &status}};
    const char *given = getenv("RAYWF_NVML");
    const char *names[] = {given ? given : "libnvidia-ml.so.1", NULL};
    int rc = rwf_dl_open(names, symbols, RWF_COUNT(symbols), NULL);
    *ret = status;
    return rc;
}

int node__nvml_peers(const struct node_gpu *gpus, size_t count, bool *ret)
{
    int (*status)(nvml_device, nvml_device, int, int *);
    nvml_device a, b;
    if (begin(NULL) < 0)
        return -1;
    int rc = load_peers(&status);
    for (size_t i = 0; i < count * count && rc == 0; i++) {
        int code = 1;
        ret[i] = i / count == i % count ||
                 (api.by_uuid(gpus[i / count].uuid, &a) == NVML_OK &&
                  api.by_uuid(gpus[i % count].uuid, &b) == NVML_OK &&
                  status(a, b, P2P_READ, &code) == NVML_OK && code == 0);
    }
    api.shutdown();
    return rc;
}
