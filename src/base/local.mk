# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = \
	%D%/arena.c %D%/arena.h %D%/clock.c %D%/clock.h %D%/digest.c %D%/digest.h \
	%D%/dl.c %D%/dl.h %D%/err.c %D%/err.h %D%/exit.def %D%/fs.c %D%/fs.h %D%/ids.c %D%/ids.h \
	%D%/journal.c %D%/journal.h \
	%D%/json_read.c %D%/json_read.h %D%/json_text.c %D%/json_text.h %D%/lock.c %D%/lock.h %D%/log.c %D%/log.h %D%/map.c %D%/map.h %D%/mem.c %D%/mem.h \
	%D%/redact.c %D%/redact.h %D%/scratch.c %D%/scratch.h %D%/str.c %D%/str.h %D%/suggest.c %D%/suggest.h \
	%D%/units.c %D%/units.h %D%/unix.c %D%/unix.h
