/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses of this machine as others see it, and "HOST:PORT". Nothing is sent to find
 * out: the kernel's table of routes is asked.
 */
#ifndef RWF_CLUSTER_ADDRESS_H
#define RWF_CLUSTER_ADDRESS_H
#include <stdbool.h>
#include "base/err.h"

#define CLUSTER_ADDRESS_LEN 64   /* of a numeric address */
#define CLUSTER_INTERFACE_LEN 16 /* IFNAMSIZ */

/* "HOST:PORT" or "[HOST]:PORT" in its parts; *ret_host is the caller's. */
int cluster_address_split(const char *text, char **ret_host, int *ret_port,
                          struct rwf_err *err);
/* The other way; the caller's. */
char *cluster_address_join(const char *host, int port);

struct cluster_interface {
    char name[CLUSTER_INTERFACE_LEN];
    char address[CLUSTER_ADDRESS_LEN]; /* IPv4 when it has one */
};
/* The interface of this machine that packets to host leave by. An unknown host, or one
 * that no route leads to, is an error. */
int cluster_interface_to(const char *host, struct cluster_interface *ret,
                         struct rwf_err *err);
/* The one of this name; the error lists those that there are. */
int cluster_interface_named(const char *name, struct cluster_interface *ret,
                            struct rwf_err *err);
/* The one by which others reach us: of the default route, else any that is no loopback,
 * else the loopback. */
void cluster_interface_default(struct cluster_interface *ret);
/* "0.0.0.0", "::" and the like: all interfaces, no address to connect to. */
bool cluster_address_is_any(const char *host);

#endif
