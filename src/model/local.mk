# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libmodel.a
libmodel_a_SOURCES = %D%/model.h %D%/inside.h %D%/model.c %D%/layout.c %D%/linear.c
# Recipe to config.json.
libmodel_a_SOURCES += %D%/config.c %D%/presets.c
# Tokens.
libmodel_a_SOURCES += %D%/transformer.h %D%/family.c %D%/gpt2.c %D%/qwen3.c %D%/transformer.c \
	%D%/layer.c %D%/head.c
# Rows of features; adapters.
libmodel_a_SOURCES += %D%/mlp.c %D%/lora.c %D%/export.c
