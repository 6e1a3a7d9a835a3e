/* SPDX-License-Identifier: Apache-2.0
 *
 * Copying what is large: one core does not use all that the memory can give.
 */
#ifndef RWF_NATIVE_COPY_H
#define RWF_NATIVE_COPY_H
#include <stddef.h>

/* memcpy; from 16 MiB on, threads that live as long as it takes help. */
void native__copy(void *to, const void *from, size_t size);

#endif
