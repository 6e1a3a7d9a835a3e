/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "http/tcp.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

bool http__tcp_ask(int fd, struct http__tcp *ret)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    memset(&info, 0, sizeof(info));
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
        return false;
    *ret = (struct http__tcp){
        .received = info.tcpi_bytes_received,
        .acked = info.tcpi_bytes_acked,
        .sent_segments = info.tcpi_data_segs_out,
        .since_sent = info.tcpi_last_data_sent,
        .since_received = info.tcpi_last_data_recv,
    };
    return true;
}
