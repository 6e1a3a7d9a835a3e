/* SPDX-License-Identifier: Apache-2.0
 *
 * libmicrohttpd, opened at the first use: the program starts without it.
 */
#ifndef RWF_HTTP_MHD_H
#define RWF_HTTP_MHD_H
#include <microhttpd.h>
#include "base/err.h"

struct http__mhd {
    struct MHD_Daemon *(*start)(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback,
                                void *, MHD_AccessHandlerCallback, void *, ...);
    void (*stop)(struct MHD_Daemon *);
    enum MHD_Result (*run)(struct MHD_Daemon *);
    enum MHD_Result (*get_timeout)(struct MHD_Daemon *, MHD_UNSIGNED_LONG_LONG *);
    const union MHD_DaemonInfo *(*daemon_info)(struct MHD_Daemon *,
                                               enum MHD_DaemonInfoType, ...);
    enum MHD_Result (*add)(struct MHD_Daemon *, MHD_socket, const struct sockaddr *,
                           socklen_t);
    const union MHD_ConnectionInfo *(*info)(struct MHD_Connection *,
                                            enum MHD_ConnectionInfoType, ...);
    int (*values)(struct MHD_Connection *, enum MHD_ValueKind, MHD_KeyValueIterator,
                  void *);
    void (*suspend)(struct MHD_Connection *);
    void (*resume)(struct MHD_Connection *);
    struct MHD_Response *(*response_buffer)(size_t, void *,
                                            enum MHD_ResponseMemoryMode);
    struct MHD_Response *(*response_callback)(uint64_t, size_t,
                                              MHD_ContentReaderCallback, void *,
                                              MHD_ContentReaderFreeCallback);
    enum MHD_Result (*header)(struct MHD_Response *, const char *, const char *);
    enum MHD_Result (*queue)(struct MHD_Connection *, unsigned, struct MHD_Response *);
    void (*response_free)(struct MHD_Response *);
    enum MHD_Result (*feature)(enum MHD_FEATURE);
    const char *(*version)(void);
};

/* The table; NULL and RWF_E_ENV when there is no such library, or one that lays out requests
 * in another way than check.c reads them. */
const struct http__mhd *http__mhd_open(struct rwf_err *err);

#endif
