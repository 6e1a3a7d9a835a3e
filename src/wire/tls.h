/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS between the machines of a cluster, when RAYWF_TLS_CERT, _KEY and _CA say so: links
 * have it by themselves (link.h); other streams between machines take it from here.
 */
#ifndef RWF_WIRE_TLS_H
#define RWF_WIRE_TLS_H
#include <stdbool.h>
#include "base/err.h"

enum wire_tls_file { WIRE_TLS_CERT, WIRE_TLS_KEY, WIRE_TLS_CA, WIRE_TLS_FILES };
/* RAYWF_TLS_CERT, … */
extern const char *const wire_tls_variables[WIRE_TLS_FILES];

/* 1: what goes over TCP uses it; 0: it does not; -1: it should, and cannot: files are missing,
 * others can read the key, the certificate has expired or is not of the CA. Any thread. */
int wire_tls_wanted(struct rwf_err *err);
/* Takes fd, a TCP socket (also one that connects): returns the end of it that is in the clear (not blocking),
 * and a thread carries between the two until either ends; what goes wrong meanwhile is logged
 * with name, and ends the clear one. -1: fd stays the caller's. Only where it is wanted. */
int wire_tls_carry(int fd, bool server, const char *name, struct rwf_err *err);
/* What was written to such an end goes out, or a little time passes; nothing is carried
 * afterwards. exit() does it, who calls _exit() does it before. */
void wire_tls_settle(void);

#endif
