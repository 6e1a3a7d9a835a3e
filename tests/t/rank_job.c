/* SPDX-License-Identifier: Apache-2.0
 *
 * Data and a job file for t4100: rank_job FOLDER rows|tokens COUNT JSON, whose keys replace
 * the job's.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/unit/train_rig.h"

int main(int argc, char **argv)
{
    json_error_t why;
    rwf_mem_init();
    if (argc != 5)
        return 2;
    json_t *changes = json_loads(argv[4], 0, &why);
    if (changes == NULL) {
        fprintf(stderr, "rank_job: %s\n", why.text);
        return 2;
    }
    json_t *job = rig_job(argv[1], strcmp(argv[2], "tokens") == 0 ? RIG_TOKENS : RIG_CLASSES,
                          atoi(argv[3]));
    json_object_update(job, changes);
    free(rig_write(argv[1], "job", job));
    json_decref(job);
    json_decref(changes);
    return 0;
}
