/* SPDX-License-Identifier: Apache-2.0
 * A plugin whose header had another table. */
#include "native/raywf.h"

RAYWF_API const struct raywf_plugin raywf_plugin = {
    .abi = RAYWF_ABI, .size = sizeof(struct raywf_plugin) + 8};
