# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libschedule.a
libschedule_a_SOURCES = %D%/heap.c %D%/heap.h %D%/ledger.c %D%/ledger.h %D%/schedule.c \
	%D%/schedule.h %D%/state.c %D%/state.h %D%/why.c %D%/internal.h
