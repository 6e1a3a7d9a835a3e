/* SPDX-License-Identifier: Apache-2.0
 *
 * Key parts of a step's results, from this run's log or from earlier ones.
 */
#ifndef RWF_CMD_HISTORY_H
#define RWF_CMD_HISTORY_H
#include <jansson.h>
#include "cmd/opened.h"

/* Parts behind the result that address has in run o: logged, or of the cache's entry.
 * The caller decrefs; NULL when they are not known. */
json_t *cmd_parts(const struct cmd_opened *o, const char *address);
/* The same of the newest earlier run of the same recipe that has them; *ret_run is its
 * id, the caller's to free. */
json_t *cmd_parts_before(const struct cmd_opened *o, const char *address,
                         char **ret_run);

#endif
