# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libhead.a
libhead_a_SOURCES = %D%/head.c %D%/head.h %D%/head_actor.c %D%/head_group.c \
	%D%/head_lease.c %D%/inside.h %D%/journal.c %D%/journal.h %D%/list.c %D%/member.c \
	%D%/need.c
libhead_a_CFLAGS = $(AM_CFLAGS)
