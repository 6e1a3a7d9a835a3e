# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libsearch.a
libsearch_a_SOURCES = %D%/inside.h %D%/judge.c %D%/op_tune.c %D%/op_tune.h %D%/search.c \
	%D%/search.h
