/* SPDX-License-Identifier: Apache-2.0
 *
 * What a gang and the shims of its ranks on other nodes say to each other, over TCP:
 * frames of four bytes of length (little endian), one of type, and so many bytes. Both
 * know the gang's key, which never crosses the wire:
 *
 *   gang  CHALLENGE  nonce
 *   shim  HELLO      {"rank":N,"nonce":…,"proof":…}
 *   gang  WELCOME    {"proof":…,"argv":[…],"env":{…},"cwd":…, …} (hub.h)
 *   shim  OUT, ERR   a line of output
 *         REPORT     a line on RAYWF_REPORT
 *         NOTICE     what the shim says itself (gang.c)
 *   gang  SIGNAL     {"signal":N}: to all that the rank has started
 */
#ifndef RWF_GANG_FRAMES_H
#define RWF_GANG_FRAMES_H
#include <stdbool.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/str.h"

enum gang_frame {
    GANG_CHALLENGE = 'C',
    GANG_HELLO = 'H',
    GANG_WELCOME = 'W',
    GANG_OUT = 'O',
    GANG_ERR = 'E',
    GANG_REPORT = 'R',
    GANG_NOTICE = 'N',
    GANG_KILL = 'K',
};

#define GANG_FRAME_MAX ((size_t)16 << 20)
#define GANG_HELLO_MAX 4096 /* of one whose proof is still to come */

void gang_frame_add(struct rwf_str *out, enum gang_frame type, const void *data,
                    size_t len);
/* Looks at the first frame in data: 1 and what it holds, borrowed, and the bytes that
 * it took; 0: it is not whole yet; -1: it is longer than max. */
int gang_frame_take(const char *data, size_t len, size_t max, enum gang_frame *ret_type,
                    const char **ret_body, size_t *ret_len, size_t *ret_used);

/* 64 hexadecimal digits. */
int gang_nonce(char out[RWF_DIGEST_LEN], struct rwf_err *err);
/* That `who` ("gang", "rank 3") knows the key. */
void gang_proof(const char *key, const char *who, const char *nonce_gang,
                const char *nonce_shim, char out[RWF_DIGEST_LEN]);
/* In a time that says nothing of where they differ. */
bool gang_proof_is(const char *proof, const char *given);

#endif
