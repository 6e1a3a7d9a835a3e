/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "wire/curl.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/dl.h"
#include "base/mem.h"

struct wire_curl wire_curl;

int wire_curl_open(struct rwf_err *err)
{
    static bool open;
    static const char *const names[] = {"libcurl.so.4", NULL};
    static const struct rwf_dl_symbol symbols[] = {
        {"curl_global_init", &wire_curl.global_init},
        {"curl_easy_init", &wire_curl.easy_init},
        {"curl_easy_setopt", &wire_curl.easy_setopt},
        {"curl_easy_perform", &wire_curl.easy_perform},
        {"curl_easy_pause", &wire_curl.easy_pause},
        {"curl_easy_getinfo", &wire_curl.easy_getinfo},
        {"curl_easy_cleanup", &wire_curl.easy_cleanup},
        {"curl_easy_strerror", &wire_curl.easy_strerror},
        {"curl_slist_append", &wire_curl.slist_append},
        {"curl_slist_free_all", &wire_curl.slist_free_all},
        {"curl_multi_init", &wire_curl.multi_init},
        {"curl_multi_setopt", &wire_curl.multi_setopt},
        {"curl_multi_add_handle", &wire_curl.multi_add_handle},
        {"curl_multi_remove_handle", &wire_curl.multi_remove_handle},
        {"curl_multi_socket_action", &wire_curl.multi_socket_action},
        {"curl_multi_info_read", &wire_curl.multi_info_read},
        {"curl_multi_assign", &wire_curl.multi_assign},
        {"curl_multi_cleanup", &wire_curl.multi_cleanup},
        {"curl_multi_strerror", &wire_curl.multi_strerror},
    };
    if (open)
        return 0;
    if (rwf_dl_open(names, symbols, RWF_COUNT(symbols), err) < 0)
        return rwf_wrap(err, "HTTP needs libcurl (Debian: libcurl4)");
    if (wire_curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return rwf_fail(err, RWF_E_ENV, "libcurl does not start");
    open = true;
    return 0;
}

static void trust(CURL *curl, CURLoption option, const char *variable)
{
    const char *path = getenv(variable);
    if (path != NULL && path[0] != '\0')
        wire_curl.easy_setopt(curl, option, path);
}

void wire_curl_trust(CURL *curl)
{
    trust(curl, CURLOPT_CAINFO, "SSL_CERT_FILE");
    trust(curl, CURLOPT_CAPATH, "SSL_CERT_DIR");
}
