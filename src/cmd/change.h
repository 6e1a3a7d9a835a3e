/* SPDX-License-Identifier: Apache-2.0
 *
 * A {"was","now"} pair in few words: what both texts share is left out but for a little
 * around the difference, and digests are shortened.
 */
#ifndef RWF_CMD_CHANGE_H
#define RWF_CMD_CHANGE_H
#include <jansson.h>

/* Both are the caller's to free; "(absent)" for a missing side. */
void cmd_change_words(const json_t *was, const json_t *now, char **ret_was,
                      char **ret_now);

#endif
