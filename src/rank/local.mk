# SPDX-License-Identifier: Apache-2.0
# One rank of a gang: the only program that links MPI.
bin_PROGRAMS += raywf-rank
raywf_rank_SOURCES = %D%/allreduce.c %D%/exec.c %D%/exec.h %D%/exec_far.c %D%/main.c %D%/rank.h %D%/spread.c \
	%D%/spread.h %D%/train.c
raywf_rank_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS)
rank_archives = libtrain.a libgang.a libmodel.a libtext.a libtensormpi.a libtensor.a libkernels.a libwire.a libbase.a
raywf_rank_LDADD = $(rank_archives) $(MPI_LIBS) $(TEXT_LIBS) $(RWF_LIBS)
