# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtensor.a
libtensor_a_SOURCES =

# safetensors
libtensor_a_SOURCES += %D%/safetensors.c %D%/safetensors_impl.h %D%/safetensors_open.c \
	%D%/safetensors_types.c %D%/safetensors_write.c

# devices and groups
libtensor_a_SOURCES += %D%/device.c %D%/device.h %D%/comm.c %D%/comm.h %D%/comm_shared.c %D%/comm_shared.h
# Of raywf-rank alone.
noinst_LIBRARIES += libtensormpi.a
libtensormpi_a_SOURCES = %D%/comm_mpi.c
libtensormpi_a_CFLAGS = $(AM_CFLAGS) $(MPI_CFLAGS)

EXTRA_DIST += src/tensor/safetensors.h
