/* SPDX-License-Identifier: Apache-2.0
 *
 * Which head a command speaks to: --address and --key; else RAYWF_CLUSTER_ADDRESS and
 * RAYWF_CLUSTER_KEY; else the one of this machine's daemons: a head's in DIR/head, or
 * the one that a node in DIR/nodes has joined. The latter also tell which files TLS
 * takes, unless RAYWF_TLS_CERT, … do.
 */
#ifndef RWF_CMD_HEAD_FIND_H
#define RWF_CMD_HEAD_FIND_H
#include "cluster/ask.h"
#include "cmd/cmd.h"

#define CMD_HEAD_OPTIONS                                                               \
    {"address",                                                                        \
     0,                                                                                \
     CMD_TEXT,                                                                         \
     "HOST:PORT",                                                                      \
     false,                                                                            \
     "RAYWF_CLUSTER_ADDRESS, else this machine's",                                     \
     "the head of the cluster"},                                                       \
        {"key", 0, CMD_FILE, "FILE", false, "RAYWF_CLUSTER_KEY, else DIR/head/key",    \
         "its key"},                                                                   \
    {                                                                                  \
        "dir", 0, CMD_DIR, "DIR", false, "~/.local/state/raywf", "as for raywf start"  \
    }

/* The command has CMD_HEAD_OPTIONS. What was named and what was found, both the
 * caller's; RWF_E_ENV: there is no head. */
int cmd_head_name(const struct cmd_call *call, char **ret_address, char **ret_key,
                  struct rwf_err *err);
/* The same, with its key read. */
int cmd_head_find(const struct cmd_call *call, struct cluster_at *ret,
                  struct rwf_err *err);
/* The head was named, by an option or in the environment. */
bool cmd_head_is_named(const struct cmd_call *call);

/* What raywf start leaves in its folder (FOLDER/address, key.path, and with TLS
 * tls-cert.path, tls-key.path and tls-ca.path). */
int cmd_head_note(const char *folder, const char *address, const char *key,
                  struct rwf_err *err);

#endif
