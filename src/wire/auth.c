/* SPDX-License-Identifier: Apache-2.0
 *
 * The handshake on TCP: three HELLOs, before which nothing else is believed.
 *
 *   connector -> listener   version, Nc
 *   listener -> connector   version, Nl, HMAC(key, "raywf listen"  Nc Nl)
 *   connector -> listener   HMAC(key, "raywf connect" Nc Nl)
 *
 * Both nonces are fresh and random, so a recorded proof is worth nothing; the role is
 * under the MAC, so a proof cannot be sent back to who made it; a nonce that equals our
 * own is refused all the same. The key itself is never sent.
 */
#include "config.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "wire/link_impl.h"

#define NONCE_LEN 32
#define PROOF_LEN 32

struct wire__auth {
    bool listener;
    bool asked; /* listener: the first HELLO has come */
    uint8_t key[WIRE_KEY_LEN];
    uint8_t mine[NONCE_LEN], theirs[NONCE_LEN];
};

struct wire__auth *wire__auth_create(const uint8_t *key, bool listener)
{
    struct wire__auth *a = rwf_xcalloc(1, sizeof(*a));
    a->listener = listener;
    memcpy(a->key, key, WIRE_KEY_LEN);
    ssize_t got = getrandom(a->mine, NONCE_LEN, 0);
    rwf_assert(got == NONCE_LEN);
    return a;
}

void wire__auth_destroy(struct wire__auth *a)
{
    if (!a)
        return;
    OPENSSL_cleanse(a, sizeof(*a));
    free(a);
}

static void prove(const struct wire__auth *a, bool by_listener, uint8_t ret[PROOF_LEN])
{
    uint8_t text[16 + 2 * NONCE_LEN] = {0};
    unsigned len = 0;
    snprintf((char *)text, 16, "raywf %s", by_listener ? "listen" : "connect");
    memcpy(text + 16, a->listener ? a->theirs : a->mine, NONCE_LEN);
    memcpy(text + 16 + NONCE_LEN, a->listener ? a->mine : a->theirs, NONCE_LEN);
    HMAC(EVP_sha256(), a->key, WIRE_KEY_LEN, text, sizeof(text), ret, &len);
    rwf_assert(len == PROOF_LEN);
}

static int say(struct wire__auth *a, int fd, bool nonce, bool proof,
               struct rwf_err *err)
{
    Wire__Hello h = WIRE__HELLO__INIT;
    uint8_t mac[PROOF_LEN];
    struct rwf_str out = {0};
    h.version = (char *)PACKAGE_VERSION;
    h.role = (char *)(a->listener ? "listen" : "connect");
    if (nonce)
        h.nonce = (ProtobufCBinaryData){NONCE_LEN, a->mine};
    if (proof) {
        prove(a, a->listener, mac);
        h.proof = (ProtobufCBinaryData){PROOF_LEN, mac};
    }
    wire_frame_add(&out, WIRE_HELLO, &h.base, 0);
    /* So few bytes always fit into the buffer of a new connection. */
    ssize_t sent = wire__send_some(fd, out.data, out.len, NULL, 0);
    bool whole = sent == (ssize_t)out.len;
    rwf_str_free(&out);
    return whole ? 0 : rwf_fail(err, EPIPE, "the peer ended in the handshake");
}

int wire__auth_begin(struct wire__auth *a, int fd, struct rwf_err *err)
{
    return say(a, fd, true, false, err);
}

static int take_nonce(struct wire__auth *a, const Wire__Hello *h, struct rwf_err *err)
{
    if (h->nonce.len != NONCE_LEN || !CRYPTO_memcmp(h->nonce.data, a->mine, NONCE_LEN))
        return rwf_fail(err, EPROTO, "the peer's challenge is no good one");
    memcpy(a->theirs, h->nonce.data, NONCE_LEN);
    return 0;
}

static int check_proof(const struct wire__auth *a, const Wire__Hello *h,
                       struct rwf_err *err)
{
    uint8_t mac[PROOF_LEN];
    prove(a, !a->listener, mac);
    if (h->proof.len == PROOF_LEN && !CRYPTO_memcmp(h->proof.data, mac, PROOF_LEN))
        return 0;
    return rwf_fail(err, EACCES,
                    "the peer does not have this cluster's key; both need the same key "
                    "file (raywf start --key)");
}

int wire__auth_take(struct wire__auth *a, int fd, const struct wire_message *m,
                    struct rwf_err *err)
{
    const Wire__Hello *h = (const Wire__Hello *)m->body;
    if (m->type != WIRE_HELLO)
        return rwf_fail(err, EACCES, "the peer sent %s before it had proved who it is",
                        wire_type_name(m->type));
    if (a->listener && !a->asked) {
        a->asked = true;
        /* Answered even when its version is wrong: then it can say so itself. */
        if (take_nonce(a, h, err) || say(a, fd, true, true, err))
            return -1;
        return wire_hello_check(h, false, err);
    }
    if (a->listener)
        return check_proof(a, h, err) ? -1 : 1;
    if (wire_hello_check(h, false, err) || take_nonce(a, h, err) ||
        check_proof(a, h, err) || say(a, fd, false, true, err))
        return -1;
    return 1;
}
