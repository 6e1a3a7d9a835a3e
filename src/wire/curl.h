/* SPDX-License-Identifier: Apache-2.0
 *
 * libcurl, opened at run time: one table for all that use it, and whom it trusts.
 */
#ifndef RWF_WIRE_CURL_H
#define RWF_WIRE_CURL_H
#include <curl/curl.h>
#include "base/err.h"

struct wire_curl {
    __typeof__(&curl_global_init) global_init;
    __typeof__(&curl_easy_init) easy_init;
    __typeof__(&curl_easy_setopt) easy_setopt;
    __typeof__(&curl_easy_perform) easy_perform;
    __typeof__(&curl_easy_pause) easy_pause;
    __typeof__(&curl_easy_getinfo) easy_getinfo;
    __typeof__(&curl_easy_cleanup) easy_cleanup;
    __typeof__(&curl_easy_strerror) easy_strerror;
    __typeof__(&curl_slist_append) slist_append;
    __typeof__(&curl_slist_free_all) slist_free_all;
    __typeof__(&curl_multi_init) multi_init;
    __typeof__(&curl_multi_setopt) multi_setopt;
    __typeof__(&curl_multi_add_handle) multi_add_handle;
    __typeof__(&curl_multi_remove_handle) multi_remove_handle;
    __typeof__(&curl_multi_socket_action) multi_socket_action;
    __typeof__(&curl_multi_info_read) multi_info_read;
    __typeof__(&curl_multi_assign) multi_assign;
    __typeof__(&curl_multi_cleanup) multi_cleanup;
    __typeof__(&curl_multi_strerror) multi_strerror;
};

/* Set once wire_curl_open has said 0. */
extern struct wire_curl wire_curl;

/* Called by as many as like; the first time while no other thread does. */
int wire_curl_open(struct rwf_err *err);

/* Certificates are checked by the system's store, or by SSL_CERT_FILE and SSL_CERT_DIR
 * where they are set, as by programs that use OpenSSL: libcurl itself does not look at
 * them. */
void wire_curl_trust(CURL *curl);

#endif
