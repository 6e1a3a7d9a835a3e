# SPDX-License-Identifier: Apache-2.0
check_PROGRAMS += check_device
check_device_SOURCES = tests/unit/check_device.c tests/unit/fake_device.c
check_device_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_device_LDADD = libtensor.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
# A stand-in of the CUDA module, opened by check_device.
EXTRA_check_device_DEPENDENCIES = tests/unit/fake_device.so
CLEANFILES += tests/unit/fake_device.so
tests/unit/fake_device.so: tests/unit/fake_device.c kernels/kernels.h
	$(AM_V_CCLD)$(MKDIR_P) tests/unit && $(CC) -I$(top_srcdir) $(WARN_CFLAGS) $(CFLAGS) -std=gnu11 \
		-fPIC -shared -o $@ $(srcdir)/tests/unit/fake_device.c

# One rank of a group, which t4100 runs under mpirun.
EXTRA_PROGRAMS += tests/t/comm_ranks
tests_t_comm_ranks_SOURCES = tests/t/comm_ranks.c
tests_t_comm_ranks_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS)
tests_t_comm_ranks_LDADD = libtensormpi.a libtensor.a libbase.a $(MPI_LIBS) $(RWF_LIBS)
check_DATA += tests/t/comm_ranks$(EXEEXT)
CLEANFILES += tests/t/comm_ranks$(EXEEXT)

check_PROGRAMS += check_comm
check_comm_SOURCES = tests/unit/check_comm.c
check_comm_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_comm_LDADD = libtensor.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)

train_archives = libtrain.a libmodel.a libtext.a libtensor.a libkernels.a libbase.a $(TEXT_LIBS)
check_PROGRAMS += check_params
check_params_SOURCES = tests/unit/check_params.c
check_params_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_params_LDADD = $(train_archives) $(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_loop
check_loop_SOURCES = tests/unit/check_loop.c tests/unit/late_device.c tests/unit/late_device.h \
	tests/unit/train_rig.c tests/unit/train_rig.h
check_loop_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_loop_LDADD = $(train_archives) $(RWF_LIBS) $(CHECK_LIBS)
# Makes the losses that check_loop compares with, in PyTorch.
EXTRA_DIST += tests/unit/loop_golden.py

EXTRA_PROGRAMS += tests/t/rank_job
tests_t_rank_job_SOURCES = tests/t/rank_job.c tests/unit/train_rig.c tests/unit/train_rig.h
tests_t_rank_job_LDADD = libtext.a libbase.a $(TEXT_LIBS) $(RWF_LIBS)
check_DATA += tests/t/rank_job$(EXEEXT)
CLEANFILES += tests/t/rank_job$(EXEEXT)
TESTS += tests/t/t4100-rank.sh
dist_check_SCRIPTS += tests/t/t4100-rank.sh
