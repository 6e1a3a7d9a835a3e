/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "wire/link.h"

#define KEY_TEXT (2 * WIRE_KEY_LEN)

/* Whole under its own name first, then linked: nobody ever reads a half-written key,
 * and of two that make it at once one wins. */
static int make_key(const char *path, struct rwf_err *err)
{
    uint8_t key[WIRE_KEY_LEN];
    char text[KEY_TEXT + 2];
    char *tmp = rwf_xasprintf("%s.%d.tmp", path, (int)getpid());
    int rc = -1,
        fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rwf_fail(err, errno, "cannot make the key file %s: %s", path, strerror(errno));
        goto out;
    }
    if (getrandom(key, sizeof(key), 0) != sizeof(key)) {
        rwf_fail(err, errno, "cannot make a key: %s", strerror(errno));
        goto out;
    }
    for (int i = 0; i < WIRE_KEY_LEN; i++)
        snprintf(text + 2 * i, 3, "%02x", key[i]);
    text[KEY_TEXT] = '\n';
    if (rwf_fs_write_all(fd, text, KEY_TEXT + 1, err) || fsync(fd))
        goto out;
    if (link(tmp, path) && errno != EEXIST)
        rwf_fail(err, errno, "cannot make the key file %s: %s", path, strerror(errno));
    else
        rc = 0;
out:
    explicit_bzero(key, sizeof(key));
    explicit_bzero(text, sizeof(text));
    if (fd >= 0) {
        close(fd);
        unlink(tmp);
    }
    free(tmp);
    return rc;
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static int parse_key(const char *path, const char *text, size_t len,
                     uint8_t ret[WIRE_KEY_LEN], struct rwf_err *err)
{
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    bool good = len == KEY_TEXT;
    for (size_t i = 0; good && i < len; i++)
        good = hex(text[i]) >= 0;
    if (!good)
        return rwf_fail(
            err, EINVAL,
            "%s holds no key: %d lower-case hexadecimal digits are expected", path,
            KEY_TEXT);
    for (int i = 0; i < WIRE_KEY_LEN; i++)
        ret[i] = (uint8_t)(hex(text[2 * i]) << 4 | hex(text[2 * i + 1]));
    return 0;
}

static int read_key(const char *path, int fd, uint8_t ret[WIRE_KEY_LEN],
                    struct rwf_err *err)
{
    struct stat st;
    char text[KEY_TEXT + 16];
    if (fstat(fd, &st))
        return rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) ||
        (st.st_uid != geteuid() && st.st_uid != 0))
        return rwf_fail(
            err, EACCES,
            "the key file %s can be read or was made by others: it must be a "
            "file of yours (chmod 600 %s)",
            path, path);
    ssize_t got = read(fd, text, sizeof(text));
    int rc = got < 0 ? rwf_fail(err, errno, "%s: %s", path, strerror(errno))
                     : parse_key(path, text, (size_t)got, ret, err);
    explicit_bzero(text, sizeof(text));
    return rc;
}

int wire_key_load(const char *path, bool create, uint8_t ret[WIRE_KEY_LEN],
                  struct rwf_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT && create) {
        if (make_key(path, err))
            return -1;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    }
    if (fd < 0)
        return rwf_fail(err, errno, "cannot read the key file %s: %s", path,
                        strerror(errno));
    int rc = read_key(path, fd, ret, err);
    close(fd);
    return rc;
}
