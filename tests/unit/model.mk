# SPDX-License-Identifier: Apache-2.0
model_rig = tests/unit/model_rig.c tests/unit/model_rig.h
model_libs = libmodel.a libtensor.a libkernels.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)

check_PROGRAMS += check_model_golden
check_model_golden_SOURCES = tests/unit/check_model_golden.c $(model_rig)
check_model_golden_LDADD = $(model_libs)
check_model_golden_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

EXTRA_DIST += tests/data/model/make.py \
	tests/data/model/gpt2/config.json tests/data/model/gpt2/golden.json \
	tests/data/model/gpt2/model.safetensors \
	tests/data/model/gpt2-inner/config.json tests/data/model/gpt2-inner/golden.json \
	tests/data/model/gpt2-inner/model.safetensors \
	tests/data/model/qwen3-tied/config.json tests/data/model/qwen3-tied/golden.json \
	tests/data/model/qwen3-tied/model.safetensors \
	tests/data/model/qwen3-untied/config.json tests/data/model/qwen3-untied/golden.json \
	tests/data/model/qwen3-untied/model.safetensors \
	tests/data/model/qwen3-wide/config.json tests/data/model/qwen3-wide/golden.json \
	tests/data/model/qwen3-wide/model.safetensors

check_PROGRAMS += check_model_grad
check_model_grad_SOURCES = tests/unit/check_model_grad.c $(model_rig)
check_model_grad_LDADD = $(model_libs)
check_model_grad_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_model
check_model_SOURCES = tests/unit/check_model.c $(model_rig)
check_model_LDADD = $(model_libs)
check_model_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

check_PROGRAMS += check_model_config
check_model_config_SOURCES = tests/unit/check_model_config.c $(model_rig)
check_model_config_LDADD = $(model_libs)
check_model_config_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

# On a GPU, against the CPU: skipped unless RAYWF_CUDA names the module.
model_placed = tests/unit/model_placed.c tests/unit/model_placed.h
check_PROGRAMS += check_model_cuda
check_model_cuda_SOURCES = tests/unit/check_model_cuda.c $(model_placed) $(model_rig)
check_model_cuda_LDADD = $(model_libs)
check_model_cuda_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

EXTRA_PROGRAMS += tests/bench/model
tests_bench_model_SOURCES = tests/bench/model.c $(model_placed)
tests_bench_model_LDADD = libmodel.a libtensor.a libkernels.a libbase.a $(RWF_LIBS)
