/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of this processor.
 */
#include "kernels/cpu/host.h"

const struct kernels *kernels_cpu(void)
{
    return kernels_reference();
}
