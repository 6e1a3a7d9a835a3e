# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_schedule
check_schedule_SOURCES = tests/unit/check_schedule.c
check_schedule_LDADD = libschedule.a libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_schedule_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_cluster
check_cluster_SOURCES = tests/unit/check_cluster.c
check_cluster_LDADD = libschedule.a libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_cluster_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_lease
check_lease_SOURCES = tests/unit/check_lease.c
check_lease_LDADD = libschedule.a libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_lease_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_simulate
check_simulate_SOURCES = tests/unit/check_simulate.c
check_simulate_LDADD = libschedule.a libplan.a librecipe.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
check_simulate_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
