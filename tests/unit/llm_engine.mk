# SPDX-License-Identifier: Apache-2.0
# The engine on a mock of the model; blocks, penalties and schedule alone.
llm_engine_rig = tests/unit/llm_engine_rig.c tests/unit/llm_engine_rig.h tests/unit/llm_mock.c \
	tests/unit/llm_mock.h
llm_engine_libs = libllm.a libbase.a $(RWF_LIBS) $(CHECK_LIBS) -lm

check_PROGRAMS += check_llm_blocks
check_llm_blocks_SOURCES = tests/unit/check_llm_blocks.c $(llm_engine_rig)
check_llm_blocks_LDADD = $(llm_engine_libs)
check_llm_blocks_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_llm_schedule
check_llm_schedule_SOURCES = tests/unit/check_llm_schedule.c $(llm_engine_rig)
check_llm_schedule_LDADD = $(llm_engine_libs)
check_llm_schedule_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_llm_engine
check_llm_engine_SOURCES = tests/unit/check_llm_engine.c $(llm_engine_rig)
check_llm_engine_LDADD = $(llm_engine_libs)
check_llm_engine_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_llm_mix
check_llm_mix_SOURCES = tests/unit/check_llm_mix.c $(llm_engine_rig)
check_llm_mix_LDADD = $(llm_engine_libs)
check_llm_mix_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_llm_failures
check_llm_failures_SOURCES = tests/unit/check_llm_failures.c $(llm_engine_rig)
check_llm_failures_LDADD = $(llm_engine_libs)
check_llm_failures_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

# On real models.
check_PROGRAMS += check_llm_paths
check_llm_paths_SOURCES = tests/unit/check_llm_paths.c $(llm_rig)
check_llm_paths_LDADD = libllm.a libtext.a libmodel.a libtensor.a libkernels.a libwire.a libbase.a $(TEXT_LIBS) $(RWF_LIBS) $(CHECK_LIBS) -lm
check_llm_paths_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
