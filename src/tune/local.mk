# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtune.a
libtune_a_SOURCES = \
	%D%/grid.c %D%/grid.h %D%/options.c %D%/options.h %D%/param.c %D%/parzen.c %D%/parzen.h \
	%D%/rng.c %D%/rng.h %D%/sampler.c %D%/sampler.h %D%/sampler_internal.h \
	%D%/sampler_sobol.c %D%/sampler_tpe.c %D%/samplers_plain.c %D%/scheduler.c %D%/scheduler.h \
	%D%/scheduler_asha.c %D%/scheduler_hyperband.c %D%/scheduler_internal.h \
	%D%/scheduler_median.c %D%/scheduler_pbt.c \
	%D%/space.c %D%/space.h %D%/space_internal.h %D%/space_read.c
