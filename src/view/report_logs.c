/* SPDX-License-Identifier: Apache-2.0
 *
 * What the folders of attempts hold: the end of what a step wrote, and its command.
 * Logs were redacted when they were written.
 */
#include "config.h"
#include "view/report_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "run/layout.h"
#include "run/log.h"

#define STREAM_MAX (16 * 1024) /* of one stream of the last attempt */
#define EARLIER_MAX (4 * 1024) /* of an earlier one */
#define EARLIER_ATTEMPTS 5
#define COMMAND_MAX (8 * 1024)
#define ALL_MAX (8 * 1024 * 1024) /* of everything */

struct reading {
    size_t left; /* bytes that may still go into the page */
};

/* At most max bytes of a regular file, from its end or its start; NULL: it has none. */
static char *read_part(const char *path, size_t max, bool end, size_t *ret_len,
                       int64_t *ret_size)
{
    /* A step owns its folder: what looks like a log may be a pipe by now. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    struct stat st;
    char *bytes = NULL;
    size_t len = 0;
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        goto out;
    if (end && st.st_size > (off_t)max &&
        lseek(fd, st.st_size - (off_t)max, SEEK_SET) < 0)
        goto out;
    bytes = rwf_xmalloc(max + 1);
    for (ssize_t n; len < max; len += (size_t)n) {
        n = read(fd, bytes + len, max - len);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n <= 0)
            break;
    }
    bytes[len] = '\0';
    *ret_len = len;
    *ret_size = st.st_size;
out:
    if (fd >= 0)
        close(fd);
    return bytes;
}

static json_t *text_of(char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] == '\0')
            bytes[i] = (char)0xff; /* never part of a text: shown as U+FFFD */
    return run_text(bytes);
}

static json_t *read_stream(struct reading *reading, const char *dir, const char *name,
                           size_t max)
{
    size_t len = 0;
    int64_t size = 0;
    max = max < reading->left ? max : reading->left;
    char *path = rwf_fs_join(dir, name);
    char *bytes = max == 0 ? NULL : read_part(path, max, true, &len, &size);
    free(path);
    if (bytes == NULL || len == 0) {
        free(bytes);
        return NULL;
    }
    char *line = size > (int64_t)len ? strchr(bytes, '\n') : NULL;
    size_t cut = line == NULL ? 0 : (size_t)(line + 1 - bytes);
    json_t *text = text_of(bytes + cut, len - cut);
    reading->left -= len;
    free(bytes);
    return json_pack("{s:s, s:o, s:I, s:I}", "name", name, "text", text, "size",
                     (json_int_t)size, "shown", (json_int_t)(len - cut));
}

static void add_streams(struct view__step *step, struct reading *reading,
                        const char *dir, const json_t *number, size_t max)
{
    static const char *const streams[] = {"stderr", "stdout"};
    for (size_t i = 0; i < RWF_COUNT(streams); i++) {
        json_t *stream = read_stream(reading, dir, streams[i], max);
        if (stream == NULL)
            continue;
        json_object_set_new(stream, "attempt", json_copy((json_t *)(uintptr_t)number));
        json_array_append_new(step->logs, stream);
    }
}

/* It sets things up and ends in "exec …": that is the command. */
static void add_command(struct view__step *step, struct reading *reading,
                        const char *dir)
{
    size_t len = 0;
    int64_t size = 0;
    char *path = rwf_fs_join(dir, "raywf-cmd.sh");
    char *text = read_part(path, 64 * 1024, false, &len, &size);
    char *command = text == NULL ? NULL : strstr(text, "\nexec ");
    free(path);
    if (command != NULL && reading->left > COMMAND_MAX) {
        command += strlen("\nexec ");
        size_t room = strlen(command);
        room = room < COMMAND_MAX ? room : COMMAND_MAX;
        step->command = rwf_xstrndup(command, room);
        reading->left -= room;
    }
    free(text);
}

/* The folder comes from the log: it must be one of this run. */
static char *attempt_folder(const struct view__report *r, const json_t *attempt)
{
    const char *dir = json_string_value(json_object_get(attempt, "dir"));
    if (dir == NULL || !rwf_fs_is_beneath(dir))
        return NULL;
    return rwf_fs_join(r->run->dir, dir);
}

static void read_step(const struct view__report *r, struct view__step *step,
                      struct reading *reading)
{
    size_t count = json_array_size(step->attempts);
    for (size_t i = count; i-- > 0 && i + 1 + EARLIER_ATTEMPTS >= count;) {
        const json_t *attempt = json_array_get(step->attempts, i);
        bool last = i + 1 == count;
        char *dir = attempt_folder(r, attempt);
        if (dir == NULL)
            continue;
        if (last)
            add_command(step, reading, dir);
        add_streams(step, reading, dir, json_object_get(attempt, "n"),
                    last ? STREAM_MAX : EARLIER_MAX);
        free(dir);
    }
}

void view__logs_read(struct view__report *r)
{
    struct reading reading = {.left = ALL_MAX};
    for (int rank = 0; rank <= 4; rank++)
        for (size_t i = 0; i < r->count; i++)
            if (r->steps[i].kept && r->steps[i].rank == rank)
                read_step(r, &r->steps[i], &reading);
}
