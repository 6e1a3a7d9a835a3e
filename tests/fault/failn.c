/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes the n-th call fail: an LD_PRELOAD library for tests.
 *
 *   RAYWF_FAIL_KIND   memory: malloc, calloc, realloc, reallocarray
 *                     system: open, read, write, stat, mmap, rename … as libc is called
 *   RAYWF_FAIL_AT     which of them fails, from 1; 0 or unset: none
 *   RAYWF_FAIL_COUNT  a file that the number of calls is appended to at exit
 *
 * Counting begins when the libraries of the program are initialised; programs that it starts
 * run without this one. Exactly one call fails, so what is tested is each single failure.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

enum kind { NONE, MEMORY, SYSTEM };

static enum kind armed;
static long fail_at;
static atomic_long calls;
static char count_path[4096];

/* True when this call is the one; errno is then set. */
static bool fails(enum kind kind, int error)
{
    if (kind != armed || atomic_fetch_add(&calls, 1) + 1 != fail_at)
        return false;
    errno = error;
    return true;
}

__attribute__((constructor)) static void start(void)
{
    const char *kind = getenv("RAYWF_FAIL_KIND"), *at = getenv("RAYWF_FAIL_AT");
    const char *count = getenv("RAYWF_FAIL_COUNT");

    if (count)
        snprintf(count_path, sizeof(count_path), "%s", count);
    if (at)
        fail_at = strtol(at, NULL, 10);
    unsetenv("LD_PRELOAD");
    if (kind)
        armed = strcmp(kind, "memory") == 0 ? MEMORY : SYSTEM;
}

__attribute__((destructor)) static void finish(void)
{
    armed = NONE;
    FILE *f = *count_path ? fopen(count_path, "a") : NULL;
    if (f) {
        fprintf(f, "%ld\n", atomic_load(&calls));
        fclose(f);
    }
}

void *malloc(size_t size)
{
    return fails(MEMORY, ENOMEM) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(MEMORY, ENOMEM) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(MEMORY, ENOMEM) ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, bytes);
}

/* A call of libc that fails with ERROR and BAD, or is passed on as it came. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP(type, name, params, args, error, bad)                                      \
    type name params                                                                   \
    {                                                                                  \
        static __typeof__(&name) next;                                                 \
        if (!next)                                                                     \
            next = NEXT(name);                                                         \
        return fails(SYSTEM, error) ? (bad) : next args;                               \
    }

WRAP(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), EIO, -1)
WRAP(ssize_t, pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), EIO, -1)
WRAP(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n), ENOSPC, -1)
WRAP(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), ENOSPC, -1)
WRAP(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t off),
     (at, n, prot, flags, fd, off), ENOMEM, MAP_FAILED)
WRAP(int, stat, (const char *path, struct stat *st), (path, st), EACCES, -1)
WRAP(int, lstat, (const char *path, struct stat *st), (path, st), EACCES, -1)
WRAP(int, fstat, (int fd, struct stat *st), (fd, st), EIO, -1)
WRAP(int, fstatat, (int fd, const char *path, struct stat *st, int flags),
     (fd, path, st, flags), EACCES, -1)
WRAP(int, access, (const char *path, int mode), (path, mode), EACCES, -1)
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode), EACCES, -1)
WRAP(int, rename, (const char *from, const char *to), (from, to), EIO, -1)
WRAP(int, unlink, (const char *path), (path), EIO, -1)
WRAP(int, fsync, (int fd), (fd), EIO, -1)
WRAP(int, fdatasync, (int fd), (fd), EIO, -1)
WRAP(int, dup2, (int from, int to), (from, to), EMFILE, -1)
WRAP(int, pipe2, (int fds[2], int flags), (fds, flags), EMFILE, -1)
WRAP(DIR *, opendir, (const char *path), (path), EMFILE, NULL)
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), EMFILE, NULL)
WRAP(char *, getcwd, (char *to, size_t n), (to, n), ENOENT, NULL)
WRAP(char *, realpath, (const char *path, char *to), (path, to), EACCES, NULL)
WRAP(ssize_t, readlink, (const char *path, char *to, size_t n), (path, to, n), EIO, -1)

/* The file is closed even when close() says that something went wrong before. */
int close(int fd)
{
    static __typeof__(&close) next;

    if (!next)
        next = NEXT(close);
    int rc = next(fd);
    return fails(SYSTEM, EIO) ? -1 : rc;
}

/* The mode is there only when a file may be made. */
#define WRAP_OPEN(name, params, args)                                                   \
    int name params                                                                    \
    {                                                                                  \
        static __typeof__(&name) next;                                                 \
        va_list ap;                                                                    \
        va_start(ap, flags);                                                           \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;        \
        va_end(ap);                                                                    \
        if (!next)                                                                     \
            next = NEXT(name);                                                         \
        return fails(SYSTEM, EMFILE) ? -1 : next args;                                 \
    }

WRAP_OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(openat, (int fd, const char *path, int flags, ...), (fd, path, flags, mode))
WRAP_OPEN(openat64, (int fd, const char *path, int flags, ...), (fd, path, flags, mode))
