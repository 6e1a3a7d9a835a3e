# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtext.a
libtext_a_SOURCES = \
	%D%/added.c %D%/added.h %D%/bpe.c %D%/bpe.h %D%/fence.c %D%/fence.h %D%/learn.c %D%/learn.h \
	%D%/load.c %D%/nfc.c %D%/pattern.c %D%/split.c %D%/split.h %D%/tokenizer.c %D%/tokenizer.h %D%/tokenizer_impl.h \
	%D%/train.c %D%/unicode.c %D%/unicode.h
libtext_a_CPPFLAGS = $(AM_CPPFLAGS) $(UTF8PROC_CFLAGS)
# What links libtext.a links these, too.
TEXT_LIBS = $(UTF8PROC_LIBS)
