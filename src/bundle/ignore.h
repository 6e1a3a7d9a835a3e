/* SPDX-License-Identifier: Apache-2.0
 *
 * What stays behind: the rules of .gitignore and .raywfignore as gitignore(5) has them.
 * A rule counts beneath the folder of its file; the last one that matches decides;
 * files deeper down count after those above, .raywfignore after .gitignore. Pure, but
 * for the list of rules.
 */
#ifndef RWF_BUNDLE_IGNORE_H
#define RWF_BUNDLE_IGNORE_H
#include <stdbool.h>
#include <stddef.h>

struct bundle__rule;
struct bundle__ignore {
    struct bundle__rule *rules;
    size_t count, cap;
};

/* Adds the lines of a file in folder ("" is the root, else "a/b"). */
void bundle__ignore_add(struct bundle__ignore *g, const char *folder, const char *text);
/* Forgets all but the first count rules: the walk leaves a folder. */
void bundle__ignore_drop(struct bundle__ignore *g, size_t count);
/* Whether path ("a/b/c") stays behind; that of a folder is asked before what is in it.
 */
bool bundle__ignored(const struct bundle__ignore *g, const char *path, bool folder);
void bundle__ignore_free(struct bundle__ignore *g);

#endif
