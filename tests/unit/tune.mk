# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_tune_space
check_tune_space_SOURCES = tests/unit/check_tune_space.c
check_tune_space_LDADD = libtune.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_tune_space_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_tune_scheduler
check_tune_scheduler_SOURCES = tests/unit/check_tune_scheduler.c
check_tune_scheduler_LDADD = libtune.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_tune_scheduler_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_tune_sampler
check_tune_sampler_SOURCES = tests/unit/check_tune_sampler.c tests/unit/tune_functions.h
check_tune_sampler_LDADD = libtune.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_tune_sampler_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

EXTRA_DIST += tests/unit/tune_curves.py
check_PROGRAMS += check_tune_simulate
check_tune_simulate_SOURCES = tests/unit/check_tune_simulate.c tests/unit/tune_curves.h
check_tune_simulate_LDADD = libtune.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_tune_simulate_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
