/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "gang/frames.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/mem.h"

#define HEAD 5

void gang_frame_add(struct rwf_str *out, enum gang_frame type, const void *data,
                    size_t len)
{
    char head[HEAD];

    for (int i = 0; i < 4; i++)
        head[i] = (char)(len >> 8 * i);
    head[4] = (char)type;
    rwf_str_addn(out, head, sizeof(head));
    rwf_str_addn(out, data, len);
}

int gang_frame_take(const char *data, size_t len, size_t max, enum gang_frame *ret_type,
                    const char **ret_body, size_t *ret_len, size_t *ret_used)
{
    size_t body = 0;

    if (len < HEAD)
        return 0;
    for (int i = 0; i < 4; i++)
        body |= (size_t)(uint8_t)data[i] << 8 * i;
    if (body > max)
        return -1;
    if (len - HEAD < body)
        return 0;
    *ret_type = (enum gang_frame)data[4];
    *ret_body = data + HEAD;
    *ret_len = body;
    *ret_used = HEAD + body;
    return 1;
}

int gang_nonce(char out[RWF_DIGEST_LEN], struct rwf_err *err)
{
    unsigned char bytes[32];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return rwf_fail(err, errno, "the kernel gives no random bytes: %s",
                        strerror(errno));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        out[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    out[2 * sizeof(bytes)] = '\0';
    return 0;
}

void gang_proof(const char *key, const char *who, const char *nonce_gang,
                const char *nonce_shim, char out[RWF_DIGEST_LEN])
{
    char *text = rwf_xasprintf("raywf gang 1|%s|%s|%s", who, nonce_gang, nonce_shim);

    rwf_hmac(key, text, strlen(text), out);
    free(text);
}

bool gang_proof_is(const char *proof, const char *given)
{
    unsigned differ = 0;

    if (given == NULL || strlen(given) != RWF_DIGEST_LEN - 1)
        return false;
    for (size_t i = 0; i < RWF_DIGEST_LEN - 1; i++)
        differ |= (unsigned char)proof[i] ^ (unsigned char)given[i];
    return differ == 0;
}
