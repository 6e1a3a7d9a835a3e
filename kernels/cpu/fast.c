/* SPDX-License-Identifier: Apache-2.0
 *
 * A variant's part of the table.
 */
#include "kernels/cpu/fast.h"

void FAST(fill)(struct kernels *k)
{
    FAST(fill_matmul)(k);
    FAST(fill_elements)(k);
    FAST(fill_layers)(k);
    FAST(fill_attention)(k);
    FAST(fill_losses)(k);
    FAST(fill_q4)(k);
    FAST(fill_paged)(k);
    FAST(fill_sample)(k);
}
