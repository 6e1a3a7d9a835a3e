/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "http/mhd.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/dl.h"
#include "base/mem.h"

static struct http__mhd mhd;

static const char *const names[] = {"libmicrohttpd.so.12", "libmicrohttpd.so", NULL};

static const struct rwf_dl_symbol symbols[] = {
    {"MHD_start_daemon", &mhd.start},
    {"MHD_stop_daemon", &mhd.stop},
    {"MHD_run", &mhd.run},
    {"MHD_get_timeout", &mhd.get_timeout},
    {"MHD_get_daemon_info", &mhd.daemon_info},
    {"MHD_add_connection", &mhd.add},
    {"MHD_get_connection_info", &mhd.info},
    {"MHD_get_connection_values", &mhd.values},
    {"MHD_suspend_connection", &mhd.suspend},
    {"MHD_resume_connection", &mhd.resume},
    {"MHD_create_response_from_buffer", &mhd.response_buffer},
    {"MHD_create_response_from_callback", &mhd.response_callback},
    {"MHD_add_response_header", &mhd.header},
    {"MHD_queue_response", &mhd.queue},
    {"MHD_destroy_response", &mhd.response_free},
    {"MHD_is_feature_supported", &mhd.feature},
    {"MHD_get_version", &mhd.version},
};

/* check.c was held against these. */
static bool is_known(const char *version)
{
    int minor, patch;
    return sscanf(version, "0.%d.%d", &minor, &patch) == 2 && minor == 9 && patch >= 75;
}

static int open_library(struct rwf_err *err)
{
    if (rwf_dl_open(names, symbols, RWF_COUNT(symbols), err))
        return rwf_wrap(err, "the HTTP server needs libmicrohttpd (Debian: "
                             "libmicrohttpd12)");
    if (!is_known(mhd.version()))
        return rwf_fail(err, RWF_E_ENV,
                        "the HTTP server does not know libmicrohttpd %s: one of 0.9.75 "
                        "to 0.9.77 is needed",
                        mhd.version());
    return 0;
}

const struct http__mhd *http__mhd_open(struct rwf_err *err)
{
    static bool opened;
    if (!opened && open_library(err))
        return NULL;
    opened = true;
    return &mhd;
}
