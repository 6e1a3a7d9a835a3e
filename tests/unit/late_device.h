/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU behind the manners of a GPU: what is downloaded is garbage on the host until it was
 * waited for, what is uploaded must not change before, and nobody may take its memory for the
 * host's. One device in a process.
 */
#ifndef RWF_TESTS_LATE_DEVICE_H
#define RWF_TESTS_LATE_DEVICE_H
#include "tensor/device.h"

void late_device_open(struct device *d);
/* Host memory that changed before the device had read it, and the like, so far. */
int late_device_faults(void);

#endif
