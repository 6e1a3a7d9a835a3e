# SPDX-License-Identifier: Apache-2.0
# One rank of a gang: the only program that links MPI.
bin_PROGRAMS += raywf-rank
raywf_rank_SOURCES = %D%/exec.c %D%/main.c %D%/rank.h %D%/train.c
raywf_rank_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS)
rank_archives = libtrain.a libmodel.a libtext.a libtensormpi.a libtensor.a libkernels.a libbase.a
raywf_rank_LDADD = $(rank_archives) $(MPI_LIBS) $(TEXT_LIBS) $(RWF_LIBS)
