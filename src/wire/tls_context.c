/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dl.h"
#include "base/mem.h"
#include "wire/tls_impl.h"

const char *const wire_tls_variables[WIRE_TLS_FILES] = {
    [WIRE_TLS_CERT] = "RAYWF_TLS_CERT",
    [WIRE_TLS_KEY] = "RAYWF_TLS_KEY",
    [WIRE_TLS_CA] = "RAYWF_TLS_CA",
};

struct wire__ssl wire__ssl;

static int open_library(struct rwf_err *err)
{
    static const char *const names[] = {"libssl.so.3", NULL};
    static const struct rwf_dl_symbol symbols[] = {
        {"TLS_method", &wire__ssl.method},
        {"SSL_CTX_new", &wire__ssl.ctx_new},
        {"SSL_CTX_free", &wire__ssl.ctx_free},
        {"SSL_CTX_ctrl", &wire__ssl.ctx_ctrl},
        {"SSL_CTX_set_verify", &wire__ssl.ctx_set_verify},
        {"SSL_CTX_load_verify_locations", &wire__ssl.ctx_load_verify},
        {"SSL_CTX_use_certificate_chain_file", &wire__ssl.ctx_use_cert},
        {"SSL_CTX_use_PrivateKey_file", &wire__ssl.ctx_use_key},
        {"SSL_CTX_check_private_key", &wire__ssl.ctx_check_key},
        {"SSL_CTX_set_num_tickets", &wire__ssl.ctx_set_tickets},
        {"SSL_CTX_set_default_passwd_cb", &wire__ssl.ctx_set_password},
        {"SSL_CTX_get0_certificate", &wire__ssl.ctx_get_cert},
        {"SSL_CTX_get_cert_store", &wire__ssl.ctx_get_store},
        {"SSL_new", &wire__ssl.new},
        {"SSL_free", &wire__ssl.free},
        {"SSL_set_bio", &wire__ssl.set_bio},
        {"SSL_set_accept_state", &wire__ssl.set_accept},
        {"SSL_set_connect_state", &wire__ssl.set_connect},
        {"SSL_do_handshake", &wire__ssl.handshake},
        {"SSL_read", &wire__ssl.read},
        {"SSL_write", &wire__ssl.write},
        {"SSL_shutdown", &wire__ssl.shutdown},
        {"SSL_get_error", &wire__ssl.get_error},
        {"SSL_get_verify_result", &wire__ssl.verify_result},
    };
    if (rwf_dl_open(names, symbols, RWF_COUNT(symbols), err))
        return rwf_wrap(err, "TLS needs OpenSSL (Debian: libssl3)");
    return 0;
}

/* --- whom we trust, and who we are --- */

const char *wire__tls_says(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "no reason is known";
}

static int check_files(const char *const paths[WIRE_TLS_FILES], struct rwf_err *err)
{
    static const char *const what[WIRE_TLS_FILES] = {"certificate", "key file",
                                                     "certificate of the CA"};
    struct stat st;
    for (int i = WIRE_TLS_FILES; i-- > 0;) /* the certificate may be beside its key */
        if (access(paths[i], R_OK))
            return rwf_fail(err, errno, "TLS: cannot read the %s %s: %s", what[i],
                            paths[i], strerror(errno));
    const char *key = paths[WIRE_TLS_KEY];
    if (stat(key, &st))
        return rwf_fail(err, errno, "TLS: %s: %s", key, strerror(errno));
    if (st.st_mode & 077)
        return rwf_fail(err, EACCES,
                        "TLS: others can read the key file %s (chmod 600 %s)", key, key);
    return 0;
}

/* What every peer would refuse is said here, where something can be done about it. */
static int check_own(SSL_CTX *c, const char *cert, const char *ca, struct rwf_err *err)
{
    STACK_OF(X509) *chain = NULL;
    X509_STORE_CTX *s = X509_STORE_CTX_new();
    wire__ssl.ctx_ctrl(c, SSL_CTRL_GET_CHAIN_CERTS, 0, &chain);
    int code = X509_V_ERR_UNSPECIFIED;
    if (s && X509_STORE_CTX_init(s, wire__ssl.ctx_get_store(c),
                                 wire__ssl.ctx_get_cert(c), chain))
        code = X509_verify_cert(s) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(s);
    X509_STORE_CTX_free(s);
    if (code == X509_V_OK)
        return 0;
    const char *why = X509_verify_cert_error_string(code);
    if (code == X509_V_ERR_CERT_HAS_EXPIRED || code == X509_V_ERR_CERT_NOT_YET_VALID)
        return rwf_fail(err, RWF_E_ENV,
                        "TLS: the certificate %s is no use now (%s): make another one, "
                        "or set this machine's clock",
                        cert, why);
    return rwf_fail(err, RWF_E_ENV,
                    "TLS: the certificate %s is not of the CA in %s (%s): take the one "
                    "that this CA made",
                    cert, ca, why);
}

/* Nobody is there who could be asked. */
static int no_password(char *buf, int size, int writes, void *ctx)
{
    (void)buf, (void)size, (void)writes, (void)ctx;
    return -1;
}

static int load_files(SSL_CTX *c, const char *const paths[WIRE_TLS_FILES],
                      struct rwf_err *err)
{
    const char *cert = paths[WIRE_TLS_CERT], *key = paths[WIRE_TLS_KEY],
               *ca = paths[WIRE_TLS_CA];
    ERR_clear_error();
    if (check_files(paths, err))
        return -1;
    if (wire__ssl.ctx_load_verify(c, ca, NULL) != 1)
        return rwf_fail(err, RWF_E_ENV, "TLS: %s holds no certificate of a CA: %s", ca,
                        wire__tls_says());
    if (wire__ssl.ctx_use_cert(c, cert) != 1)
        return rwf_fail(err, RWF_E_ENV, "TLS: %s holds no certificate: %s", cert,
                        wire__tls_says());
    if (wire__ssl.ctx_use_key(c, key, SSL_FILETYPE_PEM) != 1 ||
        wire__ssl.ctx_check_key(c) != 1)
        return rwf_fail(err, RWF_E_ENV,
                        "TLS: %s is not the key of %s, or has a password: %s", key, cert,
                        wire__tls_says());
    return check_own(c, cert, ca, err);
}

static SSL_CTX *make_context(const char *const paths[WIRE_TLS_FILES],
                             struct rwf_err *err)
{
    if (open_library(err))
        return NULL;
    SSL_CTX *c = wire__ssl.ctx_new(wire__ssl.method());
    if (!c) {
        rwf_fail(err, RWF_E_ENV, "TLS: %s", wire__tls_says());
        return NULL;
    }
    wire__ssl.ctx_ctrl(c, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_3_VERSION, NULL);
    wire__ssl.ctx_ctrl(
        c, SSL_CTRL_MODE,
        SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, NULL);
    wire__ssl.ctx_set_tickets(c, 0);
    wire__ssl.ctx_set_password(c, no_password);
    wire__ssl.ctx_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (load_files(c, paths, err) == 0)
        return c;
    wire__ssl.ctx_free(c);
    return NULL;
}

/* Of this process: made when the first stream needs it, and again when other files are
 * named (a command may speak to one cluster after another). */
static struct {
    pthread_mutex_t lock;
    SSL_CTX *context;
    char *paths[WIRE_TLS_FILES];
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* With its lock. */
static int renew(const char *const paths[WIRE_TLS_FILES], struct rwf_err *err)
{
    bool same = own.context != NULL;
    for (int i = 0; i < WIRE_TLS_FILES; i++)
        same = same && strcmp(own.paths[i], paths[i]) == 0;
    if (same)
        return 0;
    SSL_CTX *c = make_context(paths, err);
    if (!c)
        return -1;
    if (own.context)
        wire__ssl.ctx_free(own.context); /* sessions hold it */
    own.context = c;
    for (int i = 0; i < WIRE_TLS_FILES; i++) {
        free(own.paths[i]);
        own.paths[i] = rwf_xstrdup(paths[i]);
    }
    return 0;
}

int wire_tls_wanted(struct rwf_err *err)
{
    const char *paths[WIRE_TLS_FILES];
    int given = 0;
    for (int i = 0; i < WIRE_TLS_FILES; i++) {
        paths[i] = getenv(wire_tls_variables[i]);
        given += paths[i] && *paths[i];
    }
    if (given == 0)
        return 0;
    if (given < WIRE_TLS_FILES)
        return rwf_fail(err, RWF_E_USAGE,
                        "TLS: a certificate, its key and that of the CA go together "
                        "(--tls-cert, --tls-key, --tls-ca; RAYWF_TLS_CERT, …)");
    pthread_mutex_lock(&own.lock);
    int rc = renew(paths, err);
    pthread_mutex_unlock(&own.lock);
    return rc ? -1 : 1;
}

/* --- the network, as OpenSSL sees it ---
 * Its own way writes with write(2): a peer that is gone would end this process. */

static int bio_write(BIO *b, const char *data, int len)
{
    ssize_t n = send((int)(intptr_t)BIO_get_data(b), data, (size_t)len,
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    BIO_clear_retry_flags(b);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(b);
    return (int)n;
}

static int bio_read(BIO *b, char *data, int len)
{
    ssize_t n = recv((int)(intptr_t)BIO_get_data(b), data, (size_t)len, MSG_DONTWAIT);
    BIO_clear_retry_flags(b);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(b);
    return (int)n;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b, (void)num, (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO *bio_make(int fd)
{
    static BIO_METHOD *method;
    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "raywf");
        if (!method)
            return NULL;
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
    BIO *b = BIO_new(method);
    if (b) {
        BIO_set_data(b, (void *)(intptr_t)fd);
        BIO_set_init(b, 1);
    }
    return b;
}

SSL *wire__tls_session(int fd, bool server, struct rwf_err *err)
{
    pthread_mutex_lock(&own.lock);
    SSL *s = own.context ? wire__ssl.new(own.context) : NULL;
    BIO *bio = s ? bio_make(fd) : NULL;
    pthread_mutex_unlock(&own.lock);
    if (!bio) {
        rwf_fail(err, RWF_E_ENV, "TLS: %s", wire__tls_says());
        if (s)
            wire__ssl.free(s);
        return NULL;
    }
    wire__ssl.set_bio(s, bio, bio); /* takes it */
    (server ? wire__ssl.set_accept : wire__ssl.set_connect)(s);
    return s;
}
