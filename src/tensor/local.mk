# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtensor.a
libtensor_a_SOURCES =

# safetensors
libtensor_a_SOURCES += %D%/safetensors.c %D%/safetensors_impl.h %D%/safetensors_open.c \
	%D%/safetensors_types.c %D%/safetensors_write.c

# devices and groups

EXTRA_DIST += src/tensor/device.h src/tensor/comm.h src/tensor/safetensors.h
