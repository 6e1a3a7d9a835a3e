/* SPDX-License-Identifier: Apache-2.0
 *
 * SQL text, safely: names and values are quoted, and what a user wrote is checked to be
 * exactly one expression, one item of a select list, one type or one SELECT before it
 * becomes a part of a statement of ours.
 */
#ifndef RWF_DATA_SQL_H
#define RWF_DATA_SQL_H
#include <jansson.h>
#include "base/str.h"
#include "data/duck.h"

/* "na""me" */
void sql_add_name(struct rwf_str *out, const char *name);
/* 'te''xt' */
void sql_add_text(struct rwf_str *out, const char *text);
/* A number, boolean, text or null as a literal. */
void sql_add_value(struct rwf_str *out, const json_t *value);

/* How text is used. */
enum sql_use {
    SQL_EXPRESSION, /* a value: no alias, no * */
    SQL_ITEM,       /* of a select list: may have AS name, may be * */
    SQL_TYPE,
    SQL_SELECT,     /* a whole query */
};

/* -1 and *err (what is wrong with it) when text is anything else. */
int sql_check(struct duck *d, const char *text, enum sql_use use, struct rwf_err *err);

#endif
