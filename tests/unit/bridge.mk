# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_span check_bridge
check_span_SOURCES = tests/unit/check_span.c
check_span_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_span_LDADD = $(NODES_TEST_LDADD)
check_bridge_SOURCES = tests/unit/check_bridge.c $(nodes_rig)
check_bridge_CPPFLAGS = $(NODES_TEST_CPPFLAGS)
check_bridge_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_bridge_LDADD = $(NODES_TEST_LDADD)
