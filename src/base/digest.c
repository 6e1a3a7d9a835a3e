/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum { CHUNK = 1 << 20 };

struct rwf_digest {
    EVP_MD_CTX *ctx;
};

static void to_hex(const unsigned char *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}

/* Found once: looking it up costs more than the digest of a short text. */
static const EVP_MD *sha256;

static void find_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    rwf_assert(sha256 != NULL);
}

struct rwf_digest *rwf_digest_create(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_sha256);
    struct rwf_digest *d = rwf_xmalloc(sizeof(*d));
    d->ctx = EVP_MD_CTX_new();
    rwf_assert(d->ctx && EVP_DigestInit_ex(d->ctx, sha256, NULL) == 1);
    return d;
}

void rwf_digest_add(struct rwf_digest *d, const void *bytes, size_t len)
{
    rwf_assert(EVP_DigestUpdate(d->ctx, bytes, len) == 1);
}

void rwf_digest_free(struct rwf_digest *d)
{
    if (!d)
        return;
    EVP_MD_CTX_free(d->ctx);
    free(d);
}

void rwf_digest_finish(struct rwf_digest *d, char out[RWF_DIGEST_LEN])
{
    unsigned char sum[32];
    rwf_assert(EVP_DigestFinal_ex(d->ctx, sum, NULL) == 1);
    to_hex(sum, sizeof(sum), out);
    rwf_digest_free(d);
}

void rwf_digest_bytes(const void *bytes, size_t len, char out[RWF_DIGEST_LEN])
{
    struct rwf_digest *d = rwf_digest_create();
    rwf_digest_add(d, bytes, len);
    rwf_digest_finish(d, out);
}

static int add_chunk(const char *bytes, size_t len, void *d)
{
    rwf_digest_add(d, bytes, len);
    return 0;
}

void rwf_digest_json(const json_t *value, char out[RWF_DIGEST_LEN])
{
    struct rwf_digest *d = rwf_digest_create();
    rwf_assert(json_dump_callback(value, add_chunk, d,
                                  JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY) == 0);
    rwf_digest_finish(d, out);
}

static int digest_fd(int fd, struct rwf_digest *d, int64_t *ret_size)
{
    char *chunk = rwf_xmalloc(CHUNK);
    ssize_t n;
    *ret_size = 0;
    while ((n = read(fd, chunk, CHUNK)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        rwf_digest_add(d, chunk, (size_t)n);
        *ret_size += n;
    }
    int saved = errno;
    free(chunk);
    errno = saved;
    return n < 0 ? -1 : 0;
}

int rwf_digest_file(const char *path, char out[RWF_DIGEST_LEN], int64_t *ret_size,
                    struct rwf_err *err)
{
    int64_t size;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rwf_fail(err, RWF_E_INPUT, "cannot read '%s': %s", path, strerror(errno));
    struct rwf_digest *d = rwf_digest_create();
    int rc = digest_fd(fd, d, &size);
    if (rc < 0) {
        rwf_fail(err, RWF_E_INPUT, "cannot read '%s': %s", path, strerror(errno));
        rwf_digest_free(d);
    } else {
        rwf_digest_finish(d, out);
        if (ret_size)
            *ret_size = size;
    }
    close(fd);
    return rc;
}

void rwf_hmac(const char *key, const void *bytes, size_t len, char out[RWF_DIGEST_LEN])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    rwf_assert(HMAC(EVP_sha256(), key, (int)strlen(key), bytes, len, sum, &n) && n == 32);
    to_hex(sum, n, out);
}
