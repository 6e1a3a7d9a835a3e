/* SPDX-License-Identifier: Apache-2.0
 *
 * A training over nodes whose files are not those of rank 0's: what all ranks read (the
 * job, the prepared data, the checkpoint to go on from) goes to them over MPI, before
 * it begins. One rank of each such node writes it, to where the gang says that these
 * paths are there (RAYWF_GANG_PATHS).
 */
#ifndef RWF_RANK_SPREAD_H
#define RWF_RANK_SPREAD_H
#include <jansson.h>
#include <stdbool.h>
#include "base/err.h"

/* Whether this is a rank of a gang over several nodes. MPI must be up for what follows.
 */
bool rank_is_spread(void);
/* The job at path, of rank 0's node, with paths as they are here; what it names is here
 * then. All ranks call it. */
json_t *rank_spread_job(const char *path, struct rwf_err *err);

#endif
