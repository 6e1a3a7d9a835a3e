/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_TESTS_NATIVE_RESULT_H
#define RWF_TESTS_NATIVE_RESULT_H
#include <stdint.h>

struct job {
    uint64_t id, size;
    uint32_t us, pad;
};

struct result {
    uint64_t id, nonce;
    uint32_t pid, attempt;
    /* bytes that follow from nonce */
};

struct note {
    uint64_t id;
    uint32_t pid, pad;
};

#endif
