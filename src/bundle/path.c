/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bundle/inside.h"

/* The same for a kernel, or a sandbox, without openat2: name by name, no link followed.
 */
static int open_stepwise(int root, const char *path, int flags, unsigned mode)
{
    int folder = dup(root);
    while (folder >= 0 && strchr(path, '/')) {
        size_t len = strcspn(path, "/");
        char name[NAME_MAX + 1] = "..";
        if (len <= NAME_MAX)
            snprintf(name, sizeof(name), "%.*s", (int)len, path);
        int next = -1, code = EXDEV;
        if (strcmp(name, "..") != 0) {
            next = openat(folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            code = errno;
        }
        close(folder);
        folder = next;
        errno = code;
        path += len + 1;
    }
    int fd = folder < 0 ? -1 : openat(folder, path, flags, mode);
    int code = errno;
    if (folder >= 0)
        close(folder);
    errno = code;
    return fd;
}

int bundle__open(int root, const char *path, int flags, unsigned mode)
{
    flags |= O_CLOEXEC | O_NOFOLLOW;
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags,
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
    return fd < 0 && errno == ENOSYS ? open_stepwise(root, path, flags, mode) : fd;
}

static bool is_dots(const char *name, size_t len)
{
    return (len == 1 && name[0] == '.') || (len == 2 && memcmp(name, "..", 2) == 0);
}

const char *bundle__path_bad(const char *path, size_t len)
{
    size_t depth = 0;
    if (len == 0)
        return "it is empty";
    if (len > BUNDLE__PATH_MAX)
        return "it is too long";
    if (memchr(path, '\0', len))
        return "it has a zero byte";
    if (path[0] == '/')
        return "it is absolute";
    for (size_t at = 0; at <= len;) {
        const char *slash = memchr(path + at, '/', len - at);
        size_t n = slash ? (size_t)(slash - path) - at : len - at;
        if (n == 0)
            return "it has an empty name in it";
        if (is_dots(path + at, n))
            return "it has '.' or '..' in it";
        if (++depth > BUNDLE__DEPTH_MAX)
            return "it is too deep";
        at += n + 1;
    }
    return NULL;
}

const char *bundle__link_bad(const char *path, const char *text, size_t len)
{
    size_t above = 0; /* folders between the root and the link */
    bool name_seen = false;
    if (len == 0 || len > BUNDLE__PATH_MAX || memchr(text, '\0', len))
        return "its target is no path";
    if (text[0] == '/')
        return "it leads to an absolute path";
    for (const char *p = path; *p; p++)
        above += *p == '/';
    for (size_t at = 0; at < len;) {
        const char *slash = memchr(text + at, '/', len - at);
        size_t n = slash ? (size_t)(slash - text) - at : len - at;
        bool up = n == 2 && memcmp(text + at, "..", 2) == 0;
        if (up && name_seen)
            return "it has '..' behind a name";
        if (up && above-- == 0)
            return "it leads out of the tree";
        name_seen = name_seen || (n > 0 && !is_dots(text + at, n));
        at += n + 1;
    }
    return NULL;
}
