/* SPDX-License-Identifier: Apache-2.0
 *
 * sniff MARKER...: reads all packets of all interfaces of this network namespace, and counts
 * those that hold a marker: a text, or "hex:" and its bytes. Prints "sniffing"; then, for each
 * line of its input, one line "packets N dropped N MARKER N ..."; ends with its input.
 *
 * A marker across the end of a packet is not seen: let it come often.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MARKERS 16
#define BUFFER (64 << 20)
#define PACKET (1 << 18)

struct marker {
    const char *name;
    unsigned char bytes[256];
    size_t len;
    unsigned long seen;
};

static struct marker markers[MARKERS];
static size_t count;
static unsigned long packets, dropped;

static void add(const char *name)
{
    struct marker *m = &markers[count++];
    unsigned byte;
    m->name = name;
    if (strncmp(name, "hex:", 4) != 0) {
        m->len = strlen(name);
        memcpy(m->bytes, name, m->len);
        return;
    }
    for (const char *at = name + 4; sscanf(at, "%2x", &byte) == 1; at += 2)
        m->bytes[m->len++] = (unsigned char)byte;
}

static void read_all(int fd)
{
    static unsigned char packet[PACKET];
    ssize_t n;
    while ((n = recv(fd, packet, sizeof(packet), MSG_DONTWAIT)) > 0) {
        packets++;
        for (size_t i = 0; i < count; i++)
            markers[i].seen +=
                memmem(packet, (size_t)n, markers[i].bytes, markers[i].len) != NULL;
    }
}

static void say(int fd)
{
    struct tpacket_stats stats = {0};
    socklen_t len = sizeof(stats);
    read_all(fd);
    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0)
        dropped += stats.tp_drops;
    printf("packets %lu dropped %lu", packets, dropped);
    for (size_t i = 0; i < count; i++)
        printf(" %s %lu", markers[i].name, markers[i].seen);
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), size = BUFFER;
    char line[64];
    if (fd < 0 || argc < 2 || argc > MARKERS) {
        fprintf(stderr, "sniff MARKER...: %s\n", strerror(errno));
        return 1;
    }
    for (int i = 1; i < argc && strlen(argv[i]) < sizeof(markers[0].bytes); i++)
        add(argv[i]);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    printf("sniffing\n");
    fflush(stdout);
    struct pollfd p[2] = {{fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    while (poll(p, 2, -1) > 0 || errno == EINTR) {
        if (p[0].revents)
            read_all(fd);
        if (p[1].revents && read(STDIN_FILENO, line, sizeof(line)) <= 0)
            break;
        if (p[1].revents)
            say(fd);
    }
    return 0;
}
