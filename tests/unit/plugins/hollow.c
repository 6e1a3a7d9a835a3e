/* SPDX-License-Identifier: Apache-2.0
 * A plugin with nothing in it. */
#include "native/raywf.h"

RAYWF_PLUGIN();
