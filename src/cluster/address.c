/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cluster/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/str.h"
#include "wire/link.h"

_Static_assert(CLUSTER_INTERFACE_LEN >= IF_NAMESIZE, "a name of an interface");
_Static_assert(CLUSTER_ADDRESS_LEN >= INET6_ADDRSTRLEN, "an address");

#define ELSEWHERE                                                                      \
    "203.0.113.1" /* for documentation only: no host has it (RFC 5737)                 \
                   */

/* --- HOST:PORT --- */

int cluster_address_split(const char *text, char **ret_host, int *ret_port,
                          struct rwf_err *err)
{
    char *host = NULL;
    if (wire_address_split(text, &host, ret_port) || *ret_port < 1) {
        free(host);
        return rwf_fail(err, RWF_E_USAGE,
                        "%s: HOST:PORT is expected, as raywf start --head prints it",
                        text);
    }
    *ret_host = host;
    return 0;
}

char *cluster_address_join(const char *host, int port)
{
    return rwf_xasprintf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
}

bool cluster_address_is_any(const char *host)
{
    struct in6_addr a;
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "0") == 0 ||
           strcmp(host, "*") == 0 ||
           (inet_pton(AF_INET6, host, &a) == 1 && IN6_IS_ADDR_UNSPECIFIED(&a));
}

/* --- interfaces --- */

static const void *address_of(const struct sockaddr *a)
{
    return a->sa_family == AF_INET
               ? (const void *)&((const struct sockaddr_in *)a)->sin_addr
               : (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr;
}

static bool is_usable(const struct ifaddrs *i)
{
    if (!i->ifa_addr || !(i->ifa_flags & IFF_UP))
        return false;
    return i->ifa_addr->sa_family == AF_INET ||
           (i->ifa_addr->sa_family == AF_INET6 &&
            !IN6_IS_ADDR_LINKLOCAL(
                &((struct sockaddr_in6 *)(void *)i->ifa_addr)->sin6_addr));
}

static void take(const struct ifaddrs *i, struct cluster_interface *ret)
{
    snprintf(ret->name, sizeof(ret->name), "%s", i->ifa_name);
    inet_ntop(i->ifa_addr->sa_family, address_of(i->ifa_addr), ret->address,
              sizeof(ret->address));
}

int cluster_interface_to(const char *host, struct cluster_interface *ret,
                         struct rwf_err *err)
{
    struct cluster_interface one = {0};
    if (wire_route_host(host, one.address, one.name, err))
        return -1;
    *ret = one;
    return 0;
}

static bool has_name(const struct rwf_str *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list->data; at && (at = strstr(at, name)); at += len)
        if ((at[len] == '\0' || at[len] == ',') && (at == list->data || at[-1] == ' '))
            return true;
    return false;
}

int cluster_interface_named(const char *name, struct cluster_interface *ret,
                            struct rwf_err *err)
{
    struct ifaddrs *all, *i, *best = NULL;
    struct rwf_str names = {0};
    if (getifaddrs(&all))
        return rwf_fail(err, errno, "cannot list the interfaces: %s", strerror(errno));
    for (i = all; i; i = i->ifa_next) {
        if (!is_usable(i))
            continue;
        if (!has_name(&names, i->ifa_name))
            rwf_str_addf(&names, "%s%s", names.len ? ", " : "", i->ifa_name);
        if (strcmp(i->ifa_name, name) == 0 &&
            (!best || (best->ifa_addr->sa_family != AF_INET &&
                       i->ifa_addr->sa_family == AF_INET)))
            best = i;
    }
    if (best)
        take(best, ret);
    int rc = best ? 0
                  : rwf_fail(err, RWF_E_ENV,
                             "there is no interface '%s' with an address here; there "
                             "are: %s",
                             name, names.data ? names.data : "none");
    rwf_str_free(&names);
    freeifaddrs(all);
    return rc;
}

void cluster_interface_default(struct cluster_interface *ret)
{
    struct ifaddrs *all, *i;
    if (cluster_interface_to(ELSEWHERE, ret, NULL) == 0 && *ret->name)
        return;
    *ret = (struct cluster_interface){"lo", "127.0.0.1"};
    if (getifaddrs(&all))
        return;
    for (i = all; i; i = i->ifa_next)
        if (is_usable(i) && !(i->ifa_flags & IFF_LOOPBACK)) {
            take(i, ret);
            break;
        }
    freeifaddrs(all);
}
