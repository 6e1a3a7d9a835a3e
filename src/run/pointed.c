/* SPDX-License-Identifier: Apache-2.0
 *
 * Outputs that stay where they are (op.points): a model's folder of many gigabytes is
 * neither copied nor read to know whether it is still the same.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "run/cache_impl.h"
#include "run/internal.h"

struct pointed {
    struct rwf_digest *digest;
    int64_t size, files;
};

static int add_member(void *ctx, const struct run__file *f, struct rwf_err *err)
{
    struct pointed *p = ctx;
    (void)err;
    rwf_digest_add(p->digest, f->path, strlen(f->path) + 1);
    if (f->fd < 0)
        return 0;
    const int64_t known[] = {(int64_t)f->st.st_size, (int64_t)f->st.st_mtim.tv_sec,
                             (int64_t)f->st.st_mtim.tv_nsec};
    rwf_digest_add(p->digest, known, sizeof(known));
    p->size += known[0];
    p->files++;
    return 0;
}

static json_t *describe(const char *link, struct rwf_err *err)
{
    char *real = realpath(link, NULL), digest[RWF_DIGEST_LEN];
    int fd = real != NULL ? open(real, O_PATH | O_CLOEXEC) : -1;
    struct pointed p = {0};
    json_t *out = NULL;
    if (fd < 0) {
        rwf_fail(err, RWF_E_FAILED, "output '%s' leads nowhere: %s", link,
                 strerror(errno));
        free(real);
        return NULL;
    }
    p.digest = rwf_digest_create();
    rwf_digest_add(p.digest, real, strlen(real) + 1);
    int rc = run__walk(fd, "", false, add_member, &p, err);
    rwf_digest_finish(p.digest, digest);
    if (rc == 0)
        out = json_pack("{s:s, s:s+, s:I, s:I}", "path", real, "digest",
                        "sha256:", digest, "size", (json_int_t)p.size, "files",
                        (json_int_t)p.files);
    close(fd);
    free(real);
    return out;
}

json_t *run__pointed(const char *dir, const json_t *declared, struct rwf_err *err)
{
    json_t *out = json_object(), *path;
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)declared, name, path) {
        char *link = rwf_fs_join(dir, json_string_value(path));
        json_t *one = describe(link, err);
        free(link);
        if (one == NULL) {
            json_decref(out);
            return NULL;
        }
        json_object_set_new(out, name, one);
    }
    return out;
}
