# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libcluster.a
libcluster_a_SOURCES = %D%/address.c %D%/address.h %D%/ask.c %D%/ask.h \
	%D%/child.c %D%/child.h %D%/cluster.c %D%/cluster.h %D%/guard.c %D%/hosts.c %D%/inside.h %D%/known.c %D%/known.h %D%/local.c \
	%D%/slurm.c %D%/spec.c %D%/state.c %D%/tls.c
libcluster_a_CFLAGS = $(AM_CFLAGS)
