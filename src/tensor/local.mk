# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtensor.a
libtensor_a_SOURCES =

# safetensors

# devices and groups
libtensor_a_SOURCES += %D%/device.c %D%/device.h %D%/comm.h

EXTRA_DIST += src/tensor/safetensors.h
