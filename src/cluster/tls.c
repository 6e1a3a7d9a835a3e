/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS of a cluster: the files that its section names, else those of the environment. This
 * process and what it starts here find them by RAYWF_TLS_CERT, …; a node elsewhere gets them
 * where it gets the key, and keeps them beside it (cmd/start_set.c).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cluster/inside.h"

#define FILE_MAX (256 << 10)

const char *const cluster__tls_names[WIRE_TLS_FILES] = {
    [WIRE_TLS_CERT] = "cert", [WIRE_TLS_KEY] = "key", [WIRE_TLS_CA] = "ca"};

int cluster__tls_read(const json_t *spec, const char *dir, char *ret[WIRE_TLS_FILES],
                      struct rwf_err *err)
{
    const json_t *tls = json_object_get(spec, "tls");
    if (!json_is_object(tls))
        return 0;
    for (int i = 0; i < WIRE_TLS_FILES; i++) {
        const char *path = cluster__text(tls, cluster__tls_names[i]);
        if (!path)
            return rwf_fail(err, RWF_E_RECIPE,
                            "cluster.tls: cert, key and ca are expected, and %s is not "
                            "said",
                            cluster__tls_names[i]);
        ret[i] = rwf_fs_expand(path, dir);
    }
    return 0;
}

static void set(const char *name, const char *value)
{
    const char *now = getenv(name);
    if (!value && now)
        unsetenv(name);
    else if (value && (!now || strcmp(now, value) != 0))
        setenv(name, value, true);
}

/* One cluster after another may be spoken to, such as those that were left. */
static void use(char *const files[WIRE_TLS_FILES])
{
    static char *before[WIRE_TLS_FILES]; /* as this process was started */
    static bool known;
    for (int i = 0; i < WIRE_TLS_FILES; i++) {
        const char *now = getenv(wire_tls_variables[i]);
        if (!known && now)
            before[i] = rwf_xstrdup(now);
    }
    known = true;
    for (int i = 0; i < WIRE_TLS_FILES; i++)
        set(wire_tls_variables[i], files[0] ? files[i] : before[i]);
}

void cluster__tls_use(const struct cluster *c)
{
    use(c->tls);
}

int cluster__tls_check(const struct cluster *c, struct rwf_err *err)
{
    if (wire_tls_wanted(err) < 0)
        return c->tls[0] ? rwf_wrap(err, "cluster.tls") : -1;
    return 0;
}

int cluster_tls(const json_t *spec, const char *dir, struct rwf_err *err)
{
    char *files[WIRE_TLS_FILES] = {NULL};
    int rc = cluster__tls_read(spec, dir, files, err);
    if (rc == 0)
        use(files);
    if (rc == 0 && wire_tls_wanted(err) < 0)
        rc = rwf_wrap(err, "cluster.tls");
    for (int i = 0; i < WIRE_TLS_FILES; i++)
        free(files[i]);
    return rc;
}

/* As a JSON text it is one line. */
static int add_file(struct rwf_str *out, const char *name, const char *path,
                    struct rwf_err *err)
{
    size_t len;
    char *text = rwf_fs_read(path, FILE_MAX, &len, err);
    if (!text)
        return rwf_wrap(err, "TLS");
    json_t *json = json_stringn(text, len);
    char *line = json ? json_dumps(json, JSON_ENCODE_ANY) : NULL;
    int rc = line ? 0
                  : rwf_fail(err, RWF_E_ENV, "TLS: %s is no text: PEM is expected", path);
    if (line)
        rwf_str_addf(out, "@%s=%s\n", name, line);
    explicit_bzero(text, len);
    if (line)
        explicit_bzero(line, strlen(line));
    free(line);
    free(text);
    json_decref(json);
    return rc;
}

int cluster__tls_lines(struct rwf_str *out, struct rwf_err *err)
{
    int wanted = wire_tls_wanted(err);
    if (wanted <= 0)
        return wanted;
    for (int i = 0; i < WIRE_TLS_FILES; i++)
        if (add_file(out, wire_tls_variables[i], getenv(wire_tls_variables[i]), err))
            return -1;
    return 0;
}
