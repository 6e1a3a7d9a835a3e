/* SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256 in lower-case hexadecimal, 64 characters.
 */
#ifndef RWF_BASE_DIGEST_H
#define RWF_BASE_DIGEST_H
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

#define RWF_DIGEST_LEN 65

struct rwf_digest;

struct rwf_digest *rwf_digest_create(void);
void rwf_digest_add(struct rwf_digest *d, const void *bytes, size_t len);
/* Ends the computation and frees d. */
void rwf_digest_finish(struct rwf_digest *d, char out[RWF_DIGEST_LEN]);
void rwf_digest_free(struct rwf_digest *d);

void rwf_digest_bytes(const void *bytes, size_t len, char out[RWF_DIGEST_LEN]);
/* Of the canonical form of value: sorted keys, no spaces. */
void rwf_digest_json(const json_t *value, char out[RWF_DIGEST_LEN]);
/* Of a regular file's content; ret_size may be NULL. */
int rwf_digest_file(const char *path, char out[RWF_DIGEST_LEN], int64_t *ret_size,
                    struct rwf_err *err);
/* HMAC-SHA-256 of bytes under key (RFC 2104). */
void rwf_hmac(const char *key, const void *bytes, size_t len, char out[RWF_DIGEST_LEN]);

#endif
