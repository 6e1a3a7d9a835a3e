# SPDX-License-Identifier: Apache-2.0
# Steps of several ranks, and the op of `gang:`.
noinst_LIBRARIES += libgang.a
libgang_a_SOURCES = %D%/explain.c %D%/far.c %D%/frames.c %D%/frames.h %D%/gang.c %D%/gang.h \
	%D%/hub.c %D%/hub.h %D%/inside.h %D%/lines.c %D%/op_gang.c %D%/op_gang.h %D%/places.c \
	%D%/places.h %D%/procs.c %D%/program.c %D%/program.h %D%/secrets.c %D%/stable.c %D%/stable.h \
	%D%/start.c %D%/start.h %D%/words.c
