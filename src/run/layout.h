/* SPDX-License-Identifier: Apache-2.0
 *
 * Where things are. ROOT is .raywf in the recipe's folder (RAYWF_DIR overrides it):
 *
 *   runs/ID/events.ndjson          the log            runs/ID/plan.json   what was run
 *   runs/ID/steps/ADDRESS/         the first attempt: raywf-cmd.sh stdout stderr
 * exit.json step.json, and the working files until they are kept
 *   runs/ID/steps/ADDRESS~N/       attempt N, from the second on
 *   runs/ID/steps/env-DIGEST.txt   what attempts inherited: their raywf-cmd.sh say which
 *   runs/ID/pid                    of the process that drives it (see log.h)
 *   runs/ID/cluster.json           address and key's path of the cluster it is on, if any
 *   runs/last                      symlink to the newest run
 *   cache/…                        see cache.h
 *   index.sqlite                   see index.h
 */
#ifndef RWF_RUN_LAYOUT_H
#define RWF_RUN_LAYOUT_H
#include "base/err.h"

/* Absolute root for a recipe folder. Caller frees, here and below. */
char *run_root(const char *recipe_dir);
/* Finds the root from a folder upwards (for ps, logs …); NULL with RWF_E_NORUN. */
char *run_root_find(const char *start, struct rwf_err *err);
char *run_dir(const char *root, const char *id);
/* Path of its event log. */
char *run_log_path(const char *root, const char *id);
/* Resolves "last", a full id or a unique prefix or suffix of one; RWF_E_NORUN with a
 * did-you-mean otherwise. */
char *run_resolve(const char *root, const char *name, struct rwf_err *err);
/* Folder name for an address: as it is when short and harmless; else shortened with a
 * piece of its digest, so that it is always unique and legal (max 120 bytes). */
char *run_step_name(const char *address);
/* "steps/NAME" or "steps/NAME~ATTEMPT", relative to the run's folder. */
char *run_attempt_dir(const char *address, int attempt);

/* The folder of a run's native runtime (workers' logs, its socket), and the file in the
 * run's folder that says where its node listens. The caller's to free. */
char *run_native_dir(const char *root, const char *id);
char *run_native_address(const char *root, const char *id);
/* The folder of a run's server, and the file in it that says where its control socket
 * is. */
char *run_serve_dir(const char *root, const char *id);
char *run_serve_control(const char *root, const char *id);

/* The file in a run's folder that says on which cluster it is, when it is on one. */
char *run_cluster_file(const char *root, const char *id);

#endif
