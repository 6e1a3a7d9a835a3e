# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtrain.a
libtrain_a_SOURCES = %D%/job.h %D%/prepared.h %D%/batches.h %D%/checkpoint.h %D%/tensorboard.h

# checkpoints

# data
libtrain_a_SOURCES += %D%/batches.c %D%/batches_order.c %D%/batches_order.h

# the loop

# the op and its gang
