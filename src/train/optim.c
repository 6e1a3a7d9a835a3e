/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "train/optim.h"

#include <string.h>

#include "base/mem.h"

static const char *const kinds[] = {
    [KERNEL_SGD] = "sgd",
    [KERNEL_ADAMW] = "adamw",
    [KERNEL_LION] = "lion",
};

int optim_parse(struct optim *o, const json_t *optimizer, struct rwf_err *err)
{
    const char *type = "adamw";
    double rate = 1e-3, decay = 0, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, momentum = 0;
    json_error_t why;
    size_t kind = 0;
    if (json_unpack_ex((json_t *)optimizer, &why, 0,
                       "{s?s, s?F, s?F, s?F, s?F, s?F, s?F}", "type", &type,
                       "learning_rate", &rate, "weight_decay", &decay, "beta1", &beta1,
                       "beta2", &beta2, "epsilon", &epsilon, "momentum", &momentum) != 0)
        return rwf_fail(err, RWF_E_RECIPE, "optimizer: %s", why.text);
    while (kind < RWF_COUNT(kinds) && strcmp(type, kinds[kind]) != 0)
        kind++;
    if (kind == RWF_COUNT(kinds))
        return rwf_fail(err, RWF_E_RECIPE,
                        "optimizer.type '%s' is not known: sgd, adamw or lion", type);
    *o = (struct optim){ .kind = (enum kernel_optimizer)kind,
                         .rate = rate,
                         .beta1 = (float)(kind == KERNEL_SGD ? momentum : beta1),
                         .beta2 = (float)beta2,
                         .epsilon = (float)epsilon,
                         .decay = (float)decay,
                         .m = kind != KERNEL_SGD || momentum > 0,
                         .v = kind == KERNEL_ADAMW };
    return 0;
}
