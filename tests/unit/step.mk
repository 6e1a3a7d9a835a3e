# SPDX-License-Identifier: Apache-2.0
# Several nodes in one process.
nodes_rig = tests/unit/nodes_rig.c tests/unit/nodes_rig.h
step_rig = tests/unit/step_rig.c tests/unit/step_rig.h $(nodes_rig)
NODES_TEST_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/unit
NODES_TEST_LDADD = libhead.a libfar.a libnode.a libpeer.a libbundle.a libstore.a libschedule.a libplan.a \
	librecipe.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_PROGRAMS += check_step
check_step_SOURCES = tests/unit/check_step.c $(step_rig)
check_step_CPPFLAGS = $(NODES_TEST_CPPFLAGS)
check_step_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_step_LDADD = $(NODES_TEST_LDADD)
check_PROGRAMS += check_step_far
check_step_far_SOURCES = tests/unit/check_step_far.c $(step_rig)
check_step_far_CPPFLAGS = $(NODES_TEST_CPPFLAGS)
check_step_far_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_step_far_LDADD = $(NODES_TEST_LDADD)
check_PROGRAMS += check_tree
check_tree_SOURCES = tests/unit/check_tree.c $(nodes_rig)
check_tree_CPPFLAGS = $(NODES_TEST_CPPFLAGS)
check_tree_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_tree_LDADD = $(NODES_TEST_LDADD)
