# SPDX-License-Identifier: Apache-2.0
TEXT_TEST_LIBS = libtext.a libbase.a $(TEXT_LIBS) $(RWF_LIBS) $(CHECK_LIBS)
check_PROGRAMS += check_tokenizer check_tokenizer_fence check_tokenizer_load check_tokenizer_train
check_tokenizer_SOURCES = tests/unit/check_tokenizer.c tests/unit/text_support.h
check_tokenizer_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_tokenizer_LDADD = $(TEXT_TEST_LIBS)
check_tokenizer_fence_SOURCES = tests/unit/check_tokenizer_fence.c tests/unit/store_support.h \
	tests/unit/text_support.h
check_tokenizer_fence_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_tokenizer_fence_LDADD = $(TEXT_TEST_LIBS)
check_tokenizer_load_SOURCES = tests/unit/check_tokenizer_load.c tests/unit/text_support.h
check_tokenizer_load_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_tokenizer_load_LDADD = $(TEXT_TEST_LIBS)
check_tokenizer_train_SOURCES = tests/unit/check_tokenizer_train.c tests/unit/text_support.h
check_tokenizer_train_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_tokenizer_train_LDADD = $(TEXT_TEST_LIBS)
EXTRA_DIST += tests/data/tokenizer/make.py tests/data/tokenizer/corpus.txt \
	tests/data/tokenizer/small.json tests/data/tokenizer/variants.json \
	tests/data/tokenizer/cases.jsonl
