# SPDX-License-Identifier: Apache-2.0
llm_text_libs = libllm.a libtext.a libbase.a $(TEXT_LIBS) $(RWF_LIBS) $(CHECK_LIBS)
check_PROGRAMS += check_llm_text
check_llm_text_SOURCES = tests/unit/check_llm_text.c tests/unit/text_support.h
check_llm_text_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_llm_text_LDADD = $(llm_text_libs)
EXTRA_DIST += tests/data/llm/chat.py tests/data/llm/chat.json
check_PROGRAMS += check_grammar
check_grammar_SOURCES = tests/unit/check_grammar.c tests/unit/text_support.h
check_grammar_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_grammar_LDADD = $(llm_text_libs)
