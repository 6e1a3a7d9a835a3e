/* SPDX-License-Identifier: Apache-2.0
 *
 * The processes beneath us, from /proc. mpirun puts ranks into process groups of their
 * own, so no group has them all; and what a rank started may have lost its parent,
 * which makes it ours (gang.c is a subreaper).
 */
#include "config.h"
#include "gang/gang.h"

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"

struct entry {
    int pid, parent;
    char state;
    bool ours;
};

static bool read_entry(int pid, struct entry *ret)
{
    char *path = rwf_xasprintf("/proc/%d/stat", pid);
    char *text = rwf_fs_read(path, 4096, NULL, NULL);
    /* The name in parentheses may hold anything. */
    char *end = text == NULL ? NULL : strrchr(text, ')');
    bool good =
        end != NULL && sscanf(end + 1, " %c %d", &ret->state, &ret->parent) == 2;
    ret->pid = pid;
    ret->ours = false;
    free(text);
    free(path);
    return good;
}

static struct entry *read_all(size_t *ret_count)
{
    struct entry *all = NULL, one;
    size_t count = 0, cap = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *d; dir != NULL && (d = readdir(dir)) != NULL;)
        if (isdigit((unsigned char)d->d_name[0]) && read_entry(atoi(d->d_name), &one))
            *RWF_PUSH(all, count, cap) = one;
    if (dir != NULL)
        closedir(dir);
    *ret_count = count;
    return all;
}

/* Marks what descends from us; a parent may stand behind its child, so until nothing
 * changes. */
static void mark(struct entry *all, size_t count)
{
    int self = getpid();
    bool changed = true;
    while (changed) {
        changed = false;
        for (size_t i = 0; i < count; i++) {
            bool ours = all[i].parent == self;
            for (size_t k = 0; !all[i].ours && !ours && k < count; k++)
                ours = all[k].ours && all[k].pid == all[i].parent;
            changed |= ours && !all[i].ours;
            all[i].ours |= ours;
        }
    }
}

int gang_signal_descendants(int signal, int spare, bool and_children)
{
    size_t count;
    struct entry *all = read_all(&count);
    int found = 0;
    mark(all, count);
    for (size_t i = 0; i < count; i++)
        if (all[i].ours && all[i].state != 'Z' &&
            (spare == 0 ||
             (all[i].pid != spare && !(and_children && all[i].parent == spare)))) {
            kill(all[i].pid, signal);
            found++;
        }
    free(all);
    return found;
}
