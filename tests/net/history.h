/* SPDX-License-Identifier: Apache-2.0
 * What history_driver.c and history_plugin.c say to each other; history_check.c tells
 * what the lines of a history mean. */
#ifndef RWF_TESTS_NET_HISTORY_H
#define RWF_TESTS_NET_HISTORY_H
#include <stdint.h>

struct history_job {
    uint64_t id, size;
    uint32_t us, pad;
    char ran[232]; /* path of the file of those who run it */
};

struct history_result {
    uint64_t id, nonce;
    char where[48]; /* name of the host */
    /* bytes that follow from nonce */
};

#endif
