# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtrain.a
libtrain_a_SOURCES = %D%/job.h %D%/prepared.h %D%/batches.h %D%/checkpoint.h %D%/tensorboard.h

# checkpoints

# data

# the loop

# the op and its gang
libtrain_a_SOURCES += %D%/op_train.c %D%/op_train.h %D%/program.c %D%/spec.c %D%/spec.h \
	%D%/spec_check.c %D%/spec_job.c %D%/spec_job.h %D%/stable.c %D%/stable.h %D%/gang.c %D%/gang.h \
	%D%/gang_start.c %D%/gang_start.h %D%/gang_lines.c %D%/gang_procs.c
