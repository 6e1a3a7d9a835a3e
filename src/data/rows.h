/* SPDX-License-Identifier: Apache-2.0
 *
 * tasks with native and foreach: {rows: …}: one step that calls a function for each row
 * of a file, on many workers at once, and keeps what it returned in the order of rows.
 */
#ifndef RWF_DATA_ROWS_H
#define RWF_DATA_ROWS_H
#include "plan/op.h"

extern const struct op rows_op;

#endif
