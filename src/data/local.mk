# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libdata.a
libdata_a_SOURCES = \
	%D%/dataset.c %D%/dataset.h %D%/download.c %D%/duck.c %D%/duck_none.c %D%/duck.h %D%/execute.c \
	%D%/execute.h %D%/expect.c %D%/expect.h %D%/job.h %D%/program.c %D%/query.c \
	%D%/query.h %D%/read.c %D%/read.h %D%/rows.c %D%/rows.h %D%/split.c %D%/split.h %D%/spool.c %D%/spool.h %D%/sql.c %D%/sql.h
libdata_a_CPPFLAGS = $(AM_CPPFLAGS) $(DUCKDB_CPPFLAGS)
