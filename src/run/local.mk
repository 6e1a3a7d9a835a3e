# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += librun.a
librun_a_SOURCES =
# Where raywf.h lies, for recipes that build plugins.
librun_a_CPPFLAGS = $(AM_CPPFLAGS) -DRWF_INCLUDEDIR='"$(includedir)"' \
	-DRWF_SOURCE_INCLUDE='"$(abs_top_srcdir)/src/native"'
librun_a_SOURCES += %D%/cache.h
# The record of a run.
librun_a_SOURCES += %D%/events.c %D%/events.def %D%/log.c %D%/log.h %D%/state.c %D%/state.h \
	%D%/layout.c %D%/layout.h %D%/index.c %D%/index.h
# The engine.
librun_a_SOURCES += %D%/engine.c %D%/engine.h %D%/internal.h %D%/results.c %D%/prepare.c \
	%D%/launch.c %D%/finish.c %D%/pointed.c %D%/resume.c %D%/control.c %D%/step.c \
	%D%/native.c %D%/service.c %D%/service.h %D%/service_fit.c %D%/runtime.c %D%/caller.c %D%/caller.h \
	%D%/trials.c %D%/trials.h %D%/record.h %D%/trials_act.c %D%/trials_copy.c %D%/trials_end.c %D%/trials_key.c %D%/trials_replay.c \
	%D%/away.c %D%/away.h %D%/away_start.c %D%/away_files.c %D%/away_gang.c %D%/away_near.c %D%/away_trial.c %D%/away_wait.c %D%/map_paths.c %D%/map_paths.h \
	%D%/secrets.c %D%/secrets.h %D%/notify.c %D%/notify.h
# Results of steps.
librun_a_SOURCES += %D%/cache.c %D%/cache_impl.h %D%/cacheput.c %D%/cachegc.c \
	%D%/cachelock.c %D%/blob.c %D%/tree.c %D%/digests.c %D%/job_env.c %D%/job_env.h %D%/journal.c
