/* SPDX-License-Identifier: Apache-2.0
 * A plugin from the future. */
#include "native/raywf.h"

RAYWF_API const struct raywf_plugin raywf_plugin = {
    .abi = RAYWF_ABI + 1, .size = sizeof(struct raywf_plugin)};
