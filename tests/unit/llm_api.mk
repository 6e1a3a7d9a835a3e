# SPDX-License-Identifier: Apache-2.0
# The API over HTTP, on the engine's mock of the model.
llm_api_rig = tests/unit/llm_api_rig.c tests/unit/llm_api_rig.h tests/unit/llm_mock.c tests/unit/llm_mock.h
llm_api_libs = libllm.a libhttp.a libtext.a libtensor.a libkernels.a libwire.a libbase.a $(TEXT_LIBS) $(RWF_LIBS) \
	$(CHECK_LIBS) -lm

check_PROGRAMS += check_llm_api
check_llm_api_SOURCES = tests/unit/check_llm_api.c $(llm_api_rig)
check_llm_api_LDADD = $(llm_api_libs)
check_llm_api_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_llm_api_escape
check_llm_api_escape_SOURCES = tests/unit/check_llm_api_escape.c $(llm_api_rig)
check_llm_api_escape_LDADD = $(llm_api_libs)
check_llm_api_escape_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_llm_api_errors
check_llm_api_errors_SOURCES = tests/unit/check_llm_api_errors.c $(llm_api_rig)
check_llm_api_errors_LDADD = $(llm_api_libs)
check_llm_api_errors_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_llm_api_life
check_llm_api_life_SOURCES = tests/unit/check_llm_api_life.c $(llm_api_rig)
check_llm_api_life_LDADD = $(llm_api_libs)
check_llm_api_life_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

EXTRA_PROGRAMS += tests/bench/llm_grammar
tests_bench_llm_grammar_SOURCES = tests/bench/llm_grammar.c
tests_bench_llm_grammar_LDADD = libllm.a libtext.a libbase.a $(TEXT_LIBS) $(RWF_LIBS)
EXTRA_DIST += tests/bench/llm_server.sh
