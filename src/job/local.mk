# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libjob.a
libjob_a_SOURCES = %D%/client.c %D%/client.h %D%/cron.c %D%/cron.h %D%/job.c %D%/job.h \
	%D%/inside.h %D%/keeper.c %D%/keeper.h %D%/keeper_process.c %D%/later.c %D%/later.h %D%/log.c %D%/log.h %D%/process.c \
	%D%/process.h %D%/queue.c %D%/server.c %D%/server.h \
	%D%/server_tree.c %D%/talk.h
libjob_a_CFLAGS = $(AM_CFLAGS)
