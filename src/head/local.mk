# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libhead.a
libhead_a_SOURCES = %D%/actor.h %D%/head.c %D%/head.h %D%/head_actor.c %D%/head_actor_kept.c \
	%D%/head_actor_node.c %D%/head_drain.c %D%/head_group.c %D%/head_lease.c %D%/head_relay.c \
	%D%/head_stray.c %D%/inside.h %D%/list.c %D%/member.c %D%/need.c
libhead_a_CFLAGS = $(AM_CFLAGS)
