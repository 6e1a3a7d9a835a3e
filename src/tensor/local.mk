# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtensor.a
libtensor_a_SOURCES =

# safetensors

# devices and groups

EXTRA_DIST += src/tensor/device.h src/tensor/comm.h src/tensor/safetensors.h
