/* SPDX-License-Identifier: Apache-2.0
 *
 * A copy of a folder in which another process may be writing: what vanishes meanwhile
 * is left out. Tensors are never changed once they are there: they get a second name.
 */
#include "config.h"
#include "run/trials.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"

#define DEPTH_MAX 32

static int copy_bytes(int in, int out)
{
    char buffer[1 << 16];
    ssize_t n;
    while ((n = read(in, buffer, sizeof(buffer))) > 0)
        if (rwf_fs_write_all(out, buffer, (size_t)n, NULL) != 0)
            return -1;
    return n < 0 ? -1 : 0;
}

static int copy_file(const char *from, const char *to, mode_t mode, struct rwf_err *err)
{
    if (rwf_ends_with(from, ".safetensors") && link(from, to) == 0)
        return 0;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return errno == ENOENT ? 0
                               : rwf_fail(err, errno, "%s: %s", from, strerror(errno));
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode & 0777);
    int result = out < 0 || copy_bytes(in, out) != 0
                     ? rwf_fail(err, errno, "%s: %s", to, strerror(errno))
                     : 0;
    if (out >= 0)
        close(out);
    close(in);
    return result;
}

static int copy_any(const char *from, const char *to, int depth, struct rwf_err *err);

static int copy_folder(const char *from, const char *to, int depth, struct rwf_err *err)
{
    DIR *dir = opendir(from);
    int result = 0;
    if (dir == NULL)
        return errno == ENOENT ? 0
                               : rwf_fail(err, errno, "%s: %s", from, strerror(errno));
    if (depth > DEPTH_MAX)
        result = rwf_fail(err, ELOOP, "%s: too deep", from);
    else
        result = rwf_fs_mkdirs(to, err);
    for (struct dirent *one; result == 0 && (one = readdir(dir)) != NULL;) {
        if (strcmp(one->d_name, ".") == 0 || strcmp(one->d_name, "..") == 0 ||
            strcmp(one->d_name, ".lock") == 0)
            continue;
        char *inner = rwf_fs_join(from, one->d_name),
             *target = rwf_fs_join(to, one->d_name);
        result = copy_any(inner, target, depth + 1, err);
        free(inner);
        free(target);
    }
    closedir(dir);
    return result;
}

static int copy_any(const char *from, const char *to, int depth, struct rwf_err *err)
{
    struct stat st;
    if (lstat(from, &st) != 0)
        return 0; /* it has just gone */
    if (S_ISDIR(st.st_mode))
        return copy_folder(from, to, depth, err);
    return S_ISREG(st.st_mode) ? copy_file(from, to, st.st_mode, err) : 0;
}

int run__copy_tree(const char *from, const char *to, struct rwf_err *err)
{
    return copy_any(from, to, 0, err);
}
