# SPDX-License-Identifier: Apache-2.0
include %D%/cpu/local.mk
include %D%/cuda/local.mk
EXTRA_DIST += %D%/kernels.h %D%/q4_check.h
