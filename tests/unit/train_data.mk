# SPDX-License-Identifier: Apache-2.0
TRAIN_DATA_LDADD = libtrain.a libtext.a $(DATA_TEST_LDADD) $(TEXT_LIBS)
EXTRA_DIST += tests/unit/train_data_help.h
check_PROGRAMS += check_batches
check_batches_SOURCES = tests/unit/check_batches.c
check_batches_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
check_batches_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_batches_LDADD = $(TRAIN_DATA_LDADD)
EXTRA_DIST += tests/unit/prepare_golden.py
check_PROGRAMS += check_prepare
check_prepare_SOURCES = tests/unit/check_prepare.c
check_prepare_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
check_prepare_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_prepare_LDADD = $(TRAIN_DATA_LDADD)
