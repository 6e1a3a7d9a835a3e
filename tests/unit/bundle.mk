# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_bundle check_bundle_ignore
check_bundle_SOURCES = tests/unit/check_bundle.c
check_bundle_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_bundle_LDADD = libbundle.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_bundle_ignore_SOURCES = tests/unit/check_bundle_ignore.c
check_bundle_ignore_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_bundle_ignore_LDADD = libbundle.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
