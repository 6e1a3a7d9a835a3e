/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for libnvidia-ml.so.1 in check_gpu. The environment says what it plays:
 *   FAKE_CARDS=N   cards of 80 GiB, the last one of 16 GiB and another kind
 *   FAKE_INIT=C    opening fails with code C
 *   FAKE_LOST=I    card I is lost (FAKE_LOST_LATER: only for those who look again)
 *   FAKE_MIG=I     card I is cut into instances 0 and 2, of 10 GiB each
 *   FAKE_SHARED=1  memory is the machine's: not told
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct device {
    int card;
    int instance; /* -1: the card */
};

static struct device cards[64], instances[4];
static int opened;

static int setting(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : atoi(text);
}

int nvmlInit_v2(void)
{
    opened += setting("FAKE_INIT", 0) == 0;
    return setting("FAKE_INIT", 0);
}

int nvmlShutdown(void)
{
    return --opened < 0 ? 1 : 0;
}

const char *nvmlErrorString(int code)
{
    switch (code) {
    case 9:
        return "Driver Not Loaded";
    case 15:
        return "GPU is lost";
    case 18:
        return "Driver/library version mismatch";
    default:
        return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *out, unsigned size)
{
    snprintf(out, size, "580.1");
    return 0;
}

int nvmlSystemGetCudaDriverVersion(int *version)
{
    *version = 13010;
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = (unsigned)setting("FAKE_CARDS", 0);
    return opened == 1 ? 0 : 1;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    if ((int)index == setting("FAKE_LOST", -1))
        return 15;
    cards[index] = (struct device){(int)index, -1};
    *device = &cards[index];
    return 0;
}

int nvmlDeviceGetUUID(void *device, char *out, unsigned size)
{
    const struct device *d = device;
    if (d->instance < 0)
        snprintf(out, size, "GPU-%d%d%d%d", d->card, d->card, d->card, d->card);
    else
        snprintf(out, size, "MIG-%d-%d", d->card, d->instance);
    return 0;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
    int card, instance;
    if (sscanf(uuid, "MIG-%d-%d", &card, &instance) == 2) {
        instances[instance] = (struct device){card, instance};
        *device = &instances[instance];
        return 0;
    }
    card = uuid[4] - '0';
    if (card == setting("FAKE_LOST_LATER", -1))
        return 15;
    return nvmlDeviceGetHandleByIndex_v2((unsigned)card, device);
}

int nvmlDeviceGetName(void *device, char *out, unsigned size)
{
    const struct device *d = device;
    int last = d->card > 0 && d->card == setting("FAKE_CARDS", 0) - 1;
    snprintf(out, size, last ? "Tesla T4" : "NVIDIA H100");
    return 0;
}

struct memory {
    unsigned version;
    unsigned long long total, reserved, unused, used;
};

int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory)
{
    const struct device *d = device;
    int last = d->card > 0 && d->card == setting("FAKE_CARDS", 0) - 1;
    if (memory->version != (sizeof(*memory) | 2U << 24))
        return 25;
    if (setting("FAKE_SHARED", 0))
        return 3;
    memory->reserved = 600ULL << 20;
    memory->total = ((d->instance >= 0 ? 10ULL
                      : last           ? 16ULL
                                       : 80ULL)
                     << 30) +
                    memory->reserved;
    memory->used = (unsigned long long)(d->card + 1) << 30;
    memory->unused = memory->total - memory->reserved - memory->used;
    return 0;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned *rates)
{
    const struct device *d = device;
    rates[0] = (unsigned)(10 * d->card);
    rates[1] = 0;
    return d->instance < 0 ? 0 : 3;
}

int nvmlDeviceGetComputeRunningProcesses(void *device, unsigned *count, void *infos)
{
    const struct device *d = device;
    *count = (unsigned)d->card;
    return *count > 0 && infos == NULL ? 7 : 0;
}

int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *later)
{
    const struct device *d = device;
    *now = *later = d->card == setting("FAKE_MIG", -1);
    return 0;
}

int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count)
{
    (void)device;
    *count = 4;
    return 0;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *card, unsigned index, void **instance)
{
    const struct device *d = card;
    if (index % 2 == 1)
        return 6;
    instances[index] = (struct device){d->card, (int)index};
    *instance = &instances[index];
    return 0;
}
