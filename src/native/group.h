/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_NATIVE_GROUP_H
#define RWF_NATIVE_GROUP_H
#include "native/internal.h"

uint64_t native__group_id(const struct raywf_group *g);

#endif
