/* SPDX-License-Identifier: Apache-2.0
 *
 * A user's program over batches of rows. Batch N is a file; the program finds it as
 * RAYWF_INPUT and, in a text format, on its standard input. What it writes to
 * RAYWF_OUTPUT or, in a text format, to its standard output, is the batch's result;
 * results are read back in the order of batches. As many run at once as the step has
 * cores. They run in the recipe's folder, so that `argv: [python3, clean.py]` finds the
 * file that the key names.
 *
 * Beneath run-K/ of the step's folder: N.EXT (input, kept when the program fails, so
 * that it can be run again by hand), N.out.EXT, N.stdout, N.stderr.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/job.h"

#define PROGRAM_BATCH_ROWS 100000
#define PROGRAM_SLOTS 64
#define PROGRAM_TAIL 400 /* bytes of stderr in the message */

extern char **environ;

struct batch {
    int64_t number; /* from 1 */
    pid_t pid;      /* 0: the slot is free */
    char *input, *output, *out, *log; /* out, log: its stdout and stderr */
};

struct program {
    struct job *job;
    const char *rows;       /* the Parquet file */
    int64_t count, batch_rows, batches, done;
    enum read_format format;
    char **argv;            /* borrowed texts */
    char *dir;
    const char *home;       /* the recipe's folder, where it is run; NULL: here */
    struct batch slots[PROGRAM_SLOTS];
    size_t slot_count;
    char **results;         /* by batch - 1; NULL: an empty result */
};

/* --- one batch --- */

static void batch_free(struct batch *b)
{
    free(b->input);
    free(b->output);
    free(b->out);
    free(b->log);
    memset(b, 0, sizeof(*b));
}

static void batch_name(struct program *p, struct batch *b, int64_t number)
{
    const char *format = read_format_name(p->format);
    b->number = number;
    b->input = rwf_xasprintf("%s/%lld.%s", p->dir, (long long)number, format);
    b->output = rwf_xasprintf("%s/%lld.out.%s", p->dir, (long long)number, format);
    b->out = rwf_xasprintf("%s/%lld.stdout", p->dir, (long long)number);
    b->log = rwf_xasprintf("%s/%lld.stderr", p->dir, (long long)number);
}

static int batch_export(struct program *p, struct batch *b, struct rwf_err *err)
{
    int64_t from = (b->number - 1) * p->batch_rows;
    char *rows = job__rows(p->rows);
    char *select =
        rwf_xasprintf("SELECT * FROM %s WHERE " JOB_ROW_NUMBER
                      " >= %lld AND " JOB_ROW_NUMBER " < %lld",
                      rows, (long long)from, (long long)(from + p->batch_rows));
    int r = job__copy(p->job, select, b->input, p->format, NULL, err);
    free(select);
    free(rows);
    return r;
}

/* Our environment with the batch's variables in front; the caller frees the list and
 * its first *ret_own strings. */
static char **batch_env(const struct batch *b, size_t *ret_own)
{
    size_t n = 0, have = 0;
    while (environ[have] != NULL)
        have++;
    char **env = rwf_xcalloc(have + 4, sizeof(*env));
    env[n++] = rwf_xasprintf("RAYWF_INPUT=%s", b->input);
    env[n++] = rwf_xasprintf("RAYWF_OUTPUT=%s", b->output);
    env[n++] = rwf_xasprintf("RAYWF_BATCH=%lld", (long long)b->number);
    *ret_own = n;
    for (size_t i = 0; i < have; i++)
        if (!rwf_starts_with(environ[i], "RAYWF_INPUT=") &&
            !rwf_starts_with(environ[i], "RAYWF_OUTPUT=") &&
            !rwf_starts_with(environ[i], "RAYWF_BATCH="))
            env[n++] = environ[i];
    return env;
}

static int batch_spawn(struct program *p, struct batch *b, struct rwf_err *err)
{
    posix_spawn_file_actions_t actions;
    int flags = O_WRONLY | O_CREAT | O_TRUNC;
    bool text = p->format != READ_PARQUET;
    size_t own;
    char **env = batch_env(b, &own);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, text ? b->input : "/dev/null",
                                     O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, b->out, flags, 0644);
    posix_spawn_file_actions_addopen(&actions, 2, b->log, flags, 0644);
    if (p->home != NULL)
        posix_spawn_file_actions_addchdir_np(&actions, p->home);
    int e = posix_spawnp(&b->pid, p->argv[0], &actions, NULL, p->argv, env);
    posix_spawn_file_actions_destroy(&actions);
    while (own > 0)
        free(env[--own]);
    free(env);
    if (e == 0)
        return 0;
    b->pid = 0;
    if (e == ENOENT)
        return rwf_fail(err, RWF_E_FAILED,
                        "there is no program %s: install it, or correct its name; a "
                        "file beside the recipe is ./NAME", p->argv[0]);
    return rwf_fail(err, RWF_E_FAILED, "%s does not start: %s%s", p->argv[0],
                    strerror(e), e == EACCES ? " (is it executable? chmod +x)" : "");
}

/* The last lines of what it said, on one line. */
static void add_tail(struct rwf_str *out, const char *path)
{
    char bytes[PROGRAM_TAIL];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > PROGRAM_TAIL ? size - PROGRAM_TAIL : 0;
    ssize_t n = pread(fd, bytes, sizeof(bytes), from);
    close(fd);
    while (n > 0 && (bytes[n - 1] == '\n' || bytes[n - 1] == ' '))
        n--;
    if (n <= 0)
        return;
    rwf_str_add(out, from > 0 ? "; it said: …" : "; it said: ");
    for (ssize_t i = 0; i < n; i++)
        if (bytes[i] == '\n')
            rwf_str_add(out, " | ");
        else
            rwf_str_addc(out, (unsigned char)bytes[i] < ' ' ? ' ' : bytes[i]);
}

static int batch_failed(const struct batch *b, int status, struct rwf_err *err)
{
    struct rwf_str text = { 0 };
    if (WIFSIGNALED(status))
        rwf_str_addf(&text, "was killed by signal %d (%s)", WTERMSIG(status),
                     strsignal(WTERMSIG(status)));
    else
        rwf_str_addf(&text, "ended with exit code %d", WEXITSTATUS(status));
    add_tail(&text, b->log);
    rwf_fail(err, RWF_E_FAILED, "the program %s (batch %lld; its input is kept in %s)",
             text.data, (long long)b->number, b->input);
    rwf_str_free(&text);
    return -1;
}

static int64_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

/* False for nothing, and for a CSV of nothing but its header: no rows tell no types. */
static bool has_rows(const struct program *p, const char *path)
{
    char bytes[4096];
    int64_t size = size_of(path);
    if (p->format != READ_CSV || size <= 0 || size > (int64_t)sizeof(bytes))
        return size > 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, bytes, sizeof(bytes)) : 0;
    if (fd >= 0)
        close(fd);
    const char *end = n > 0 ? memchr(bytes, '\n', (size_t)n) : NULL;
    return end != NULL && end + 1 < bytes + n;
}

/* Takes the result of a program that ended well, and drops what is no longer needed. */
static int batch_take(struct program *p, struct batch *b, struct rwf_err *err)
{
    bool text = p->format != READ_PARQUET;
    if (size_of(b->output) < 0 && !text)
        return rwf_fail(
            err, RWF_E_FAILED,
            "the program wrote no file RAYWF_OUTPUT (batch %lld; its input is "
            "kept in %s)",
            (long long)b->number, b->input);
    if (size_of(b->output) < 0 && rename(b->out, b->output) < 0)
        return rwf_fail(err, errno, "%s: %s", b->out, strerror(errno));
    if (has_rows(p, b->output))
        p->results[b->number - 1] = rwf_xstrdup(b->output);
    unlink(b->input);
    unlink(b->out);
    if (size_of(b->log) == 0)
        unlink(b->log);
    return 0;
}

/* --- all batches --- */

static struct batch *free_slot(struct program *p)
{
    for (size_t i = 0; i < p->slot_count; i++)
        if (p->slots[i].pid == 0)
            return &p->slots[i];
    return NULL;
}

/* The slot of a child that ended; NULL when none is left. */
static struct batch *wait_any(struct program *p, int *ret_status)
{
    for (;;) {
        pid_t pid = waitpid(-1, ret_status, 0);
        if (pid < 0 && errno != EINTR)
            return NULL;
        for (size_t i = 0; pid > 0 && i < p->slot_count; i++)
            if (p->slots[i].pid == pid)
                return &p->slots[i];
    }
}

/* After a failure nothing that still runs can matter. */
static void stop_others(struct program *p)
{
    for (size_t i = 0; i < p->slot_count; i++)
        if (p->slots[i].pid > 0)
            kill(p->slots[i].pid, SIGTERM);
}

static int finish_one(struct program *p, struct rwf_err *err)
{
    int status;
    struct batch *b = wait_any(p, &status);
    rwf_assert(b != NULL);
    b->pid = 0;
    bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    int r = well ? batch_take(p, b, err) : batch_failed(b, status, err);
    batch_free(b);
    p->done++;
    job__progress(p->job, (double)p->done / (double)p->batches,
                  p->done < p->batches ? p->done * p->batch_rows : p->count);
    return r;
}

static int start_one(struct program *p, int64_t number, struct rwf_err *err)
{
    struct batch *b = free_slot(p);
    batch_name(p, b, number);
    if (batch_export(p, b, err) == 0 && batch_spawn(p, b, err) == 0)
        return 0;
    batch_free(b);
    return -1;
}

static int run_all(struct program *p, struct rwf_err *err)
{
    int64_t next = 1, running = 0;
    int r = 0;
    while ((next <= p->batches && r == 0) || running > 0) {
        if (r == 0 && next <= p->batches && running < (int64_t)p->slot_count) {
            r = start_one(p, next++, err);
            running += r == 0;
        } else {
            struct rwf_err later = RWF_ERR_INIT;
            int one = finish_one(p, r == 0 ? err : &later);
            running--;
            if (one < 0 && r == 0)
                r = -1;
            if (r < 0)
                stop_others(p);
        }
    }
    return r;
}

/* --- set-up --- */

/* argv as given, or the shell's for `run`. */
static char **make_argv(const json_t *step, struct rwf_err *err)
{
    const json_t *argv = json_object_get(step, "argv");
    const char *shell = json_string_value(json_object_get(step, "run"));
    size_t n = json_array_size(argv), i;
    if (n == 0 && shell == NULL) {
        rwf_fail(err, RWF_E_FAILED, "give argv or run");
        return NULL;
    }
    char **out = rwf_xcalloc(n + 4, sizeof(*out));
    for (i = 0; i < n; i++)
        out[i] = (char *)json_string_value(json_array_get(argv, i));
    if (n == 0) {
        out[0] = (char *)"sh";
        out[1] = (char *)"-euc";
        out[2] = (char *)shell;
    }
    return out;
}

static int set_up(struct program *p, const json_t *step, int number,
                  struct rwf_err *err)
{
    const char *format = json_string_value(json_object_get(step, "format"));
    int64_t batch_rows = json_integer_value(json_object_get(step, "batch_rows"));
    p->format = read_format_parse(format != NULL ? format : "jsonl");
    if (p->format == READ_UNKNOWN)
        return rwf_fail(err, RWF_E_FAILED, "format: %s is none of jsonl, csv, parquet",
                        format);
    p->batch_rows = batch_rows > 0 ? batch_rows : PROGRAM_BATCH_ROWS;
    p->batches = (p->count + p->batch_rows - 1) / p->batch_rows;
    p->slot_count = (size_t)p->job->cores;
    if (p->slot_count > PROGRAM_SLOTS)
        p->slot_count = PROGRAM_SLOTS;
    p->home = json_string_value(json_object_get(p->job->run->spec, "dir"));
    p->argv = make_argv(step, err);
    if (p->argv == NULL)
        return -1;
    char *name = rwf_xasprintf("run-%d", number);
    char *relative = rwf_fs_join(p->job->run->dir, name);
    p->dir = rwf_fs_absolute(relative);
    free(name);
    free(relative);
    p->results = rwf_xcalloc((size_t)p->batches + 1, sizeof(*p->results));
    return rwf_fs_mkdirs(p->dir, err);
}

/* The `read` of the results; one without path when all are empty. */
static json_t *results_read(const struct program *p, const json_t *step)
{
    json_t *read = json_pack("{s:s}", "format", read_format_name(p->format));
    json_t *types = json_object_get(step, "types");
    json_t *paths = json_array();
    for (int64_t i = 0; i < p->batches; i++)
        if (p->results[i] != NULL)
            json_array_append_new(paths, json_string(p->results[i]));
    if (json_array_size(paths) > 0)
        json_object_set(read, "path", paths);
    json_decref(paths);
    if (types != NULL)
        json_object_set(read, "types", types);
    if (p->format == READ_CSV)
        json_object_set_new(read, "header", json_true());
    return read;
}

int program__run(struct job *j, const json_t *step, const char *rows, int64_t count,
                 int number, json_t **ret_read, struct rwf_err *err)
{
    struct program p = { .job = j, .rows = rows, .count = count };
    int r = set_up(&p, step, number, err);
    if (r == 0)
        r = run_all(&p, err);
    if (r == 0)
        *ret_read = results_read(&p, step);
    for (int64_t i = 0; p.results != NULL && i < p.batches; i++)
        free(p.results[i]);
    free(p.results);
    free(p.argv);
    free(p.dir);
    return r;
}
