# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libschedule.a
libschedule_a_SOURCES = %D%/ask.c %D%/cluster.c %D%/cluster.h %D%/decide.c %D%/grant.c %D%/group.c %D%/heap.c %D%/heap.h \
	%D%/lease.c %D%/lease.h %D%/leases.h %D%/machine.h %D%/never.c %D%/nodes.h %D%/pick.c %D%/place.c \
	%D%/shown.c %D%/simulate.c %D%/simulate.h %D%/simulate_svg.c %D%/schedule.c %D%/schedule.h %D%/state.c %D%/state.h %D%/stock.c %D%/stock.h \
	%D%/tree.c %D%/tree.h %D%/why.c %D%/internal.h %D%/yield.c
