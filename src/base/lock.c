/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/lock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "base/clock.h"

#define ENDING (5 * RWF_NS_PER_S)
#define LOOK_EVERY (10 * RWF_NS_PER_MS)

char rwf_process_state(int pid)
{
    char path[32], text[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *f = pid > 0 ? fopen(path, "re") : NULL;
    size_t len = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f)
        fclose(f);
    text[len] = '\0';
    /* PID (NAME) STATE, and a name may have anything in it. */
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[1] == ' ' && name_end[2] ? name_end[2] : '?';
}

bool rwf_process_lives(int pid)
{
    char state = rwf_process_state(pid);
    return state != '?' && state != 'Z' && state != 'X';
}

int rwf_lock_take(int fd, int holder)
{
    const struct timespec pause = {.tv_nsec = LOOK_EVERY};
    int64_t end = rwf_clock_mono() + ENDING;
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK || rwf_process_lives(holder) || rwf_clock_mono() >= end)
            return -1;
        nanosleep(&pause, NULL);
    }
    return 0;
}
