/* SPDX-License-Identifier: Apache-2.0
 *
 * root/clusters/ID: "lock", held while the process that uses it lives; "cluster.json",
 * what must be known to take it down (never values of env); head/ and nodes/ of
 * daemons.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cluster/inside.h"

#define STATE_MAX (4 << 20)

static int take_lock(const char *folder, int flags)
{
    char *path = rwf_fs_join(folder, "lock");
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    free(path);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB)) {
        close(fd);
        return -1;
    }
    return fd;
}

char *cluster__id_make(void)
{
    uint32_t n;
    if (getrandom(&n, sizeof(n), 0) != sizeof(n))
        n = (uint32_t)rwf_clock_wall() ^ (uint32_t)getpid();
    return rwf_xasprintf("%08x", n);
}

int cluster__state_create(struct cluster *c, struct rwf_err *err)
{
    char *parent = rwf_fs_join(c->root, "clusters"), *hidden = NULL;
    c->id = cluster__id_make();
    hidden = rwf_xasprintf("%s/.%s", parent, c->id);
    int rc = rwf_fs_mkdirs(parent, err);
    if (rc == 0 && mkdir(hidden, 0700))
        rc = rwf_fail(err, errno, "cannot make the folder %s: %s", hidden,
                      strerror(errno));
    if (rc == 0) {
        c->folder = rwf_fs_join(parent, c->id);
        c->lock = take_lock(hidden, O_CREAT);
        /* Under its name it has its lock: nobody takes it for one that was left. */
        if (c->lock < 0 || rename(hidden, c->folder))
            rc = rwf_fail(err, errno, "cannot make the folder %s: %s", c->folder,
                          strerror(errno));
    }
    free(hidden);
    free(parent);
    return rc;
}

/* --- what is kept --- */

static json_t *host_of(const struct cluster__node *n)
{
    json_t *h = json_pack("{s:s, s:s}", "name", n->name, "host", n->host);
    if (n->user)
        json_object_set_new(h, "user", json_string(n->user));
    if (n->raywf)
        json_object_set_new(h, "raywf", json_string(n->raywf));
    if (n->port)
        json_object_set_new(h, "port", json_integer(n->port));
    return h;
}

static json_t *machines_of(const struct cluster *c)
{
    if (c->kind == CLUSTER_SIZE)
        return json_pack("{s:i}", "size", (int)c->count);
    if (c->kind == CLUSTER_SLURM)
        return json_pack("{s:{}}", "slurm");
    json_t *hosts = json_array();
    for (size_t i = 0; i < c->count; i++)
        json_array_append_new(hosts, host_of(&c->nodes[i]));
    return json_pack("{s:o}", "hosts", hosts);
}

/* Enough of the section to find everything again. */
static json_t *reduced(const struct cluster *c)
{
    json_t *spec = machines_of(c), *tls = json_object();
    for (int i = 0; i < WIRE_TLS_FILES && c->tls[0]; i++)
        json_object_set_new(tls, cluster__tls_names[i], json_string(c->tls[i]));
    if (c->tls[0])
        json_object_set(spec, "tls", tls);
    json_decref(tls);
    return spec;
}

int cluster__state_write(const struct cluster *c, struct rwf_err *err)
{
    char digest[RWF_DIGEST_LEN];
    if (c->stays)
        return 0;
    rwf_digest_json(c->spec, digest);
    json_t *j = json_pack("{s:i, s:s, s:o, s:b}", "v", 1, "digest", digest, "spec",
                          reduced(c), "job_ours", c->job_ours);
    if (c->address)
        json_object_set_new(j, "address", json_string(c->address));
    if (c->listen)
        json_object_set_new(j, "listen", json_string(c->listen));
    if (c->job)
        json_object_set_new(j, "job", json_string(c->job));
    char *text = json_dumps(j, JSON_INDENT(1)),
         *path = rwf_fs_join(c->folder, "cluster.json");
    int rc = rwf_fs_write_private(path, text, strlen(text), true, err);
    free(path);
    free(text);
    json_decref(j);
    return rc ? rwf_wrap(err, "cannot keep the state of the cluster") : 0;
}

static int read_state(struct cluster *c, json_t **ret)
{
    char *path = rwf_fs_join(c->folder, "cluster.json");
    char *text = rwf_fs_read(path, STATE_MAX, NULL, NULL);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL;
    const json_t *spec = json_object_get(j, "spec");
    int rc = spec ? cluster__spec_read(c, spec, NULL) : -1;
    free(text);
    free(path);
    *ret = j;
    return rc;
}

static char *copied(const json_t *j, const char *key)
{
    const char *text = cluster__text(j, key);
    return text ? rwf_xstrdup(text) : NULL;
}

struct cluster *cluster__state_adopt(const struct cluster_options *o, const char *id)
{
    struct cluster *c = rwf_xcalloc(1, sizeof(*c));
    json_t *j = NULL;
    c->options = *o;
    c->root = rwf_xstrdup(o->root);
    c->program = o->program ? rwf_xstrdup(o->program) : rwf_fs_self();
    c->id = rwf_xstrdup(id);
    c->folder = rwf_xasprintf("%s/clusters/%s", c->root, id);
    c->lock = take_lock(c->folder, 0);
    if (c->lock < 0) {
        cluster__free(c);
        return NULL;
    }
    c->key = rwf_fs_join(c->folder, "head/key");
    if (read_state(c, &j) == 0) {
        c->address = copied(j, "address");
        c->listen = copied(j, "listen");
        c->job = copied(j, "job");
        c->job_ours = json_is_true(json_object_get(j, "job_ours"));
        json_object_set(c->spec, "digest", json_object_get(j, "digest"));
    } else {
        c->kind = CLUSTER_SIZE; /* nothing but what is below its folder */
    }
    json_decref(j);
    return c;
}

void cluster__state_remove(struct cluster *c)
{
    if (c->folder)
        rwf_fs_rmtree(c->folder, NULL);
}

void cluster__state_each(const struct cluster_options *o,
                         void (*fn)(void *ctx, struct cluster *c), void *ctx)
{
    char *parent = rwf_fs_join(o->root, "clusters");
    DIR *d = opendir(parent);
    struct dirent *e;
    while (d && (e = readdir(d))) {
        struct cluster *c =
            *e->d_name == '.' ? NULL : cluster__state_adopt(o, e->d_name);
        if (c)
            fn(ctx, c);
    }
    if (d)
        closedir(d);
    free(parent);
}

void cluster__free(struct cluster *c)
{
    if (!c)
        return;
    cluster__guard_stop(c);
    cluster__spec_free(c);
    if (c->lock >= 0 && c->folder)
        close(c->lock);
    free(c->root);
    free(c->program);
    free(c->id);
    free(c->folder);
    free(c->address);
    free(c->key);
    free(c->listen);
    free(c->job);
    free(c);
}
