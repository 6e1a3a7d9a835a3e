# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_expr
check_expr_SOURCES = tests/unit/check_expr.c
check_expr_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_expr_LDADD = libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_PROGRAMS += check_graph
check_graph_SOURCES = tests/unit/check_graph.c tests/unit/plan_support.h
check_graph_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_graph_LDADD = libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
