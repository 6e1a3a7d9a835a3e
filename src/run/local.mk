# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += librun.a
librun_a_SOURCES = %D%/cache.h %D%/engine.h %D%/events.def %D%/index.h %D%/layout.h %D%/log.h %D%/proc.h %D%/state.h 
# One process of a step.
librun_a_SOURCES += %D%/proc.c %D%/attempt.c %D%/attempt.h %D%/spawn.c %D%/spawn.h \
	%D%/capture.c %D%/capture.h %D%/limit.c %D%/limit.h %D%/procfs.c %D%/procfs.h
