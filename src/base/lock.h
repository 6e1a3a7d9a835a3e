/* SPDX-License-Identifier: Apache-2.0
 *
 * Locks of files (flock) that say which process something belongs to.
 */
#ifndef RWF_BASE_LOCK_H
#define RWF_BASE_LOCK_H
#include <stdbool.h>

/* The letter of a process' state in /proc; '?': there is none. */
char rwf_process_state(int pid);
/* False also of one that has ended and whose parent has not asked how. */
bool rwf_process_lives(int pid);
/* Takes the lock of an open file; holder: who has it as far as is known (0: not known). While
 * that one lives: -1 and EWOULDBLOCK at once. One that was killed may have left a child that has
 * not yet closed its copy: that is waited for, some seconds. Else -1 and errno. */
int rwf_lock_take(int fd, int holder);

#endif
