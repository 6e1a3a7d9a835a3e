/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of store: what is to be spilled, so that room in one piece comes of it.
 */
#ifndef RWF_STORE_VICTIMS_H
#define RWF_STORE_VICTIMS_H
#include "store/inside.h"

/* So many units in a row are free. */
bool store__units_fit(const struct store *s, uint32_t units);
/* The objects in the way of so many units in a row, where they were not read for the
 * longest time; to be freed by the caller. NULL: there is no such place. */
store_object *store__victims(struct store *s, uint32_t units, size_t *ret_count);

#endif
