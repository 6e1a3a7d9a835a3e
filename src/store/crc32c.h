/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-32C (Castagnoli), by the processor's instruction where it has one.
 */
#ifndef RWF_STORE_CRC32C_H
#define RWF_STORE_CRC32C_H
#include <stddef.h>
#include <stdint.h>

/* Of bytes that follow what crc is the sum of; 0: of nothing yet. */
uint32_t store__crc32c(uint32_t crc, const void *bytes, size_t len);
/* The same without that instruction, for its test. */
uint32_t store__crc32c_plain(uint32_t crc, const void *bytes, size_t len);

#endif
