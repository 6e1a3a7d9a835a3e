/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside src/wire: TLS under a stream. tls_context.c loads OpenSSL and the files, tls.c carries
 * on a loop, tls_carry.c has a loop and a thread for those that have none.
 */
#ifndef RWF_WIRE_TLS_IMPL_H
#define RWF_WIRE_TLS_IMPL_H
#include <openssl/ssl.h>
#include <sys/queue.h>
#include <uv.h>
#include "wire/tls.h"

/* --- tls_context.c --- */

/* Of OpenSSL; loaded once wire_tls_wanted has said 1. */
struct wire__ssl {
    __typeof__(&TLS_method) method;
    __typeof__(&SSL_CTX_new) ctx_new;
    __typeof__(&SSL_CTX_free) ctx_free;
    __typeof__(&SSL_CTX_ctrl) ctx_ctrl;
    __typeof__(&SSL_CTX_set_verify) ctx_set_verify;
    __typeof__(&SSL_CTX_load_verify_locations) ctx_load_verify;
    __typeof__(&SSL_CTX_use_certificate_chain_file) ctx_use_cert;
    __typeof__(&SSL_CTX_use_PrivateKey_file) ctx_use_key;
    __typeof__(&SSL_CTX_check_private_key) ctx_check_key;
    __typeof__(&SSL_CTX_set_num_tickets) ctx_set_tickets;
    __typeof__(&SSL_CTX_set_default_passwd_cb) ctx_set_password;
    __typeof__(&SSL_CTX_get0_certificate) ctx_get_cert;
    __typeof__(&SSL_CTX_get_cert_store) ctx_get_store;
    __typeof__(&SSL_new) new;
    __typeof__(&SSL_free) free;
    __typeof__(&SSL_set_bio) set_bio;
    __typeof__(&SSL_set_accept_state) set_accept;
    __typeof__(&SSL_set_connect_state) set_connect;
    __typeof__(&SSL_do_handshake) handshake;
    __typeof__(&SSL_read) read;
    __typeof__(&SSL_write) write;
    __typeof__(&SSL_shutdown) shutdown;
    __typeof__(&SSL_get_error) get_error;
    __typeof__(&SSL_get_verify_result) verify_result;
};
extern struct wire__ssl wire__ssl;

/* A session over fd, which stays the caller's. */
SSL *wire__tls_session(int fd, bool server, struct rwf_err *err);
const char *wire__tls_says(void); /* why OpenSSL failed last */

/* --- tls.c --- */

struct wire__tls;
/* It has ended with an error; connecting: there was no connection yet. */
typedef void (*wire__tls_failed_fn)(void *ctx, bool connecting, int code,
                                    const char *text);

/* Takes fd, a TCP socket (also one that connects): returns the end of it that is in the
 * clear; -1: fd stays the caller's. *ret becomes NULL when it ends. */
int wire__tls_wrap(uv_loop_t *loop, int fd, bool server, wire__tls_failed_fn failed,
                   void *ctx, struct wire__tls **ret, struct rwf_err *err);
/* Nobody is told any more, and *ret of it is left alone (NULL is fine); away: it goes on
 * in a thread. */
void wire__tls_forget(struct wire__tls *t, bool away);
/* Of those that a thread carries. */
struct wire__tls_link {
    LIST_ENTRY(wire__tls_link) all;
    bool listed;
};
/* Begins on the thread's loop. */
void wire__tls_resume(struct wire__tls_link *l, uv_loop_t *loop);
/* Nothing that was written to its end in the clear is still here. */
bool wire__tls_is_sent(const struct wire__tls_link *l);

/* --- tls_carry.c --- */

/* Takes one whose handles are closed; goes on with it in a thread. */
void wire__tls_give(struct wire__tls_link *l);
/* It is freed; in its thread. */
void wire__tls_gone(struct wire__tls_link *l);

#endif
