# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_job
JOB_TEST_LDADD = libjob.a libhead.a libschedule.a libplan.a librecipe.a libwire.a libbundle.a libbase.a \
	$(RWF_LIBS) $(CHECK_LIBS)
check_job_SOURCES = tests/unit/check_job.c
check_job_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_job_LDADD = $(JOB_TEST_LDADD)
check_PROGRAMS += check_job_server
check_job_server_SOURCES = tests/unit/check_job_server.c
check_job_server_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_job_server_LDADD = $(JOB_TEST_LDADD)
