# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtrain.a
libtrain_a_SOURCES = %D%/job.h %D%/prepared.h %D%/batches.h %D%/checkpoint.h %D%/tensorboard.h

# checkpoints
libtrain_a_SOURCES += %D%/checkpoint.c %D%/checkpoint_find.c %D%/checkpoint_impl.h \
	%D%/checkpoint_write.c %D%/tensorboard.c

# data
libtrain_a_SOURCES += %D%/batches.c %D%/batches_order.c %D%/batches_order.h \
	%D%/features.c %D%/features.h %D%/features_levels.c %D%/features_levels.h \
	%D%/prepare.c %D%/prepare.h %D%/prepare_learn.c %D%/prepare_learn.h \
	%D%/prepare_rows.c %D%/prepare_split.c %D%/tokens.c %D%/tokens_pool.c \
	%D%/tokens_pool.h

# the loop
libtrain_a_SOURCES += %D%/evaluate.c %D%/heartbeat.c %D%/heartbeat.h %D%/loop.c %D%/loop.h \
	%D%/loop_batch.c %D%/loop_job.c %D%/loop_open.c %D%/loop_report.c %D%/loop_save.c \
	%D%/metrics.c %D%/metrics.h %D%/sample.c
libtrain_a_SOURCES += %D%/optim.c %D%/optim.h %D%/params.c %D%/params.h %D%/params_full.c \
	%D%/params_impl.h %D%/params_load.c %D%/params_save.c %D%/params_step.c %D%/schedule.c \
	%D%/schedule.h

# the op
libtrain_a_SOURCES += %D%/op_train.c %D%/op_train.h %D%/program.c %D%/spec.c %D%/spec.h \
	%D%/reports.c %D%/reports.h %D%/spec_check.c %D%/spec_job.c %D%/spec_job.h
