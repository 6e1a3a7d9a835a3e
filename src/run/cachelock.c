/* SPDX-License-Identifier: Apache-2.0
 *
 * A lock is one byte of the file `locks`, at an offset made from the key: nothing is
 * created or removed per step. Open-file-description locks belong to our one
 * descriptor, so they keep other processes out and die with us; `held` keeps ourselves
 * out.
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

static struct flock byte_of(const char *key, short type)
{
    char digits[16]; /* 60 of the key's 256 bits: positive as an offset */
    size_t n = strnlen(key, sizeof(digits) - 1);
    memcpy(digits, key, n);
    digits[n] = '\0';
    return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_len = 1,
                           .l_start = (off_t)strtoull(digits, NULL, 16) };
}

static int open_locks(struct run_cache *c, struct rwf_err *err)
{
    if (c->lock_fd >= 0)
        return 0;
    char *path = rwf_fs_join(c->dir, "locks");
    c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (c->lock_fd < 0 && errno == ENOENT && rwf_fs_mkdirs(c->dir, NULL) == 0)
        c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    int rc = c->lock_fd < 0 ? rwf_fail(err, errno, "%s: %s", path, strerror(errno)) : 0;
    free(path);
    return rc;
}

static size_t find_held(const struct run_cache *c, const char *key)
{
    size_t i = 0;
    while (i < c->held_count && strcmp(c->held[i], key) != 0)
        i++;
    return i;
}

static int lock_byte(struct run_cache *c, const char *key, struct rwf_err *err)
{
    if (find_held(c, key) < c->held_count)
        return 0;
    if (open_locks(c, err) < 0)
        return -1;
    struct flock range = byte_of(key, F_WRLCK);
    if (fcntl(c->lock_fd, F_OFD_SETLK, &range) == 0) {
        *RWF_PUSH(c->held, c->held_count, c->held_cap) = rwf_xstrdup(key);
        return 1;
    }
    if (errno == EAGAIN || errno == EACCES)
        return 0;
    return rwf_fail(err, errno, "cannot lock a step in %s: %s", c->dir,
                    strerror(errno));
}

int run_cache_trylock(struct run_cache *c, const char *key, int *ret_lock,
                      struct rwf_err *err)
{
    pthread_mutex_lock(&c->lock);
    int rc = lock_byte(c, key, err);
    if (rc == 1)
        *ret_lock = c->lock_fd;
    pthread_mutex_unlock(&c->lock);
    return rc;
}

void run_cache_unlock(struct run_cache *c, const char *key, int lock)
{
    pthread_mutex_lock(&c->lock);
    size_t i = find_held(c, key);
    rwf_assert(lock == c->lock_fd && i < c->held_count);
    struct flock range = byte_of(key, F_UNLCK);
    fcntl(c->lock_fd, F_OFD_SETLK, &range);
    free(c->held[i]);
    c->held[i] = c->held[--c->held_count];
    pthread_mutex_unlock(&c->lock);
}
