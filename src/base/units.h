/* SPDX-License-Identifier: Apache-2.0
 *
 * Exact units. Sizes: B, kB MB GB TB (powers of 1000), KiB MiB GiB TiB (powers of 1024);
 * durations: ns us ms s m h d, also joined ("1h30m"). A fraction is allowed when the
 * result is a whole number of bytes or nanoseconds. A bare number is refused, save 0.
 */
#ifndef RWF_BASE_UNITS_H
#define RWF_BASE_UNITS_H
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

int rwf_size_parse(const char *text, int64_t *ret_bytes, struct rwf_err *err);
int rwf_duration_parse(const char *text, int64_t *ret_ns, struct rwf_err *err);

/* For people: "1.5 GiB", "340 MiB"; "12.3s", "4m05s", "1h02m". Returns out. */
#define RWF_UNITS_LEN 24
char *rwf_size_format(int64_t bytes, char out[RWF_UNITS_LEN]);
char *rwf_duration_format(int64_t ns, char out[RWF_UNITS_LEN]);

#endif
