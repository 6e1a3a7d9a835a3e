/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/head_find.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cmd/daemon.h"
#include "wire/tls.h"

#define TEXT_MAX 8192

static int note(const char *folder, const char *name, const char *text,
                struct rwf_err *err)
{
    char *path = rwf_fs_join(folder, name);
    int rc = rwf_fs_write(path, text, strlen(text), false, err);
    free(path);
    return rc;
}

static const char *const tls_notes[WIRE_TLS_FILES] = {
    [WIRE_TLS_CERT] = "tls-cert.path",
    [WIRE_TLS_KEY] = "tls-key.path",
    [WIRE_TLS_CA] = "tls-ca.path",
};

static const char *tls_said(int i)
{
    const char *path = getenv(wire_tls_variables[i]);
    return path && *path ? path : NULL;
}

/* An earlier daemon of this folder may have had other files, or none. */
static int note_tls(const char *folder, struct rwf_err *err)
{
    int rc = 0;
    for (int i = 0; i < WIRE_TLS_FILES && rc == 0; i++) {
        const char *said = tls_said(i);
        char *file = rwf_fs_join(folder, tls_notes[i]);
        char *path = said ? rwf_fs_absolute(said) : NULL;
        if (path)
            rc = note(folder, tls_notes[i], path, err);
        else
            (void)unlink(file);
        free(path);
        free(file);
    }
    return rc;
}

int cmd_head_note(const char *folder, const char *address, const char *key,
                  struct rwf_err *err)
{
    return note(folder, "address", address, err) ||
                   note(folder, "key.path", key, err) || note_tls(folder, err)
               ? -1
               : 0;
}

static char *noted(const char *folder, const char *name)
{
    char *path = rwf_fs_join(folder, name);
    char *text = rwf_fs_read(path, TEXT_MAX, NULL, NULL);
    free(path);
    return text;
}

/* What the daemon speaks TLS with, we do, too; the environment goes first. */
static void use_tls(const char *folder)
{
    for (int i = 0; i < WIRE_TLS_FILES; i++)
        if (tls_said(i))
            return;
    for (int i = 0; i < WIRE_TLS_FILES; i++) {
        char *path = noted(folder, tls_notes[i]);
        if (path)
            setenv(wire_tls_variables[i], path, true);
        free(path);
    }
}

/* False: no daemon lives in folder. */
static bool of_daemon(const char *folder, char **ret_address, char **ret_key)
{
    if (cmd_daemon_owner(folder) == 0)
        return false;
    char *address = noted(folder, "address"), *key = noted(folder, "key.path");
    if (address && key) {
        *ret_address = address;
        *ret_key = key;
        use_tls(folder);
        return true;
    }
    free(address);
    free(key);
    return false;
}

static bool of_machine(const char *dir, char **ret_address, char **ret_key)
{
    char *head = rwf_fs_join(dir, "head"), *nodes = rwf_fs_join(dir, "nodes");
    bool found = of_daemon(head, ret_address, ret_key);
    DIR *d = found ? NULL : opendir(nodes);
    struct dirent *e;
    while (d && !found && (e = readdir(d))) {
        char *folder = rwf_fs_join(nodes, e->d_name);
        found = *e->d_name != '.' && of_daemon(folder, ret_address, ret_key);
        free(folder);
    }
    if (d)
        closedir(d);
    free(head);
    free(nodes);
    return found;
}

static const char *named(const struct cmd_call *call, const char *option,
                         const char *variable)
{
    const char *given = cmd_text(call, option, NULL), *env = getenv(variable);
    return given ? given : env && *env ? env : NULL;
}

bool cmd_head_is_named(const struct cmd_call *call)
{
    return named(call, "address", "RAYWF_CLUSTER_ADDRESS") != NULL;
}

int cmd_head_name(const struct cmd_call *call, char **ret_address, char **ret_key,
                  struct rwf_err *err)
{
    const char *address = named(call, "address", "RAYWF_CLUSTER_ADDRESS");
    const char *key = named(call, "key", "RAYWF_CLUSTER_KEY");
    char *dir =
        cmd_daemon_dir(cmd_text(call, "dir", NULL), address && key ? NULL : err);
    int rc = 0;
    if (address) {
        if (!key && !dir)
            return -1;
        *ret_address = rwf_xstrdup(address);
        *ret_key = key ? rwf_fs_absolute(key) : rwf_fs_join(dir, "head/key");
    } else if (!dir) {
        return -1;
    } else if (!of_machine(dir, ret_address, ret_key)) {
        rc = rwf_fail(
            err, RWF_E_ENV,
            "no head or node runs in %s: start one with raywf start, or name a "
            "head with --address and --key",
            dir);
    } else if (key) {
        free(*ret_key);
        *ret_key = rwf_fs_absolute(key);
    }
    free(dir);
    return rc;
}

int cmd_head_find(const struct cmd_call *call, struct cluster_at *ret,
                  struct rwf_err *err)
{
    char *address, *key;
    if (cmd_head_name(call, &address, &key, err))
        return -1;
    int rc = cluster_at_open(ret, address, key, err);
    free(address);
    free(key);
    return rc;
}
