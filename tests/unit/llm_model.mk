# SPDX-License-Identifier: Apache-2.0
llm_rig = tests/unit/llm_rig.c tests/unit/llm_rig.h tests/unit/llm_deferred.c tests/unit/llm_deferred.h
llm_model_libs = libllm.a libmodel.a libtensor.a libkernels.a libwire.a libbase.a $(RWF_LIBS) $(CHECK_LIBS)
EXTRA_DIST += tests/data/llm/model.py tests/data/llm/model.json \
	tests/data/llm/awq/config.json tests/data/llm/awq/model.safetensors

check_PROGRAMS += check_llm_model
check_llm_model_SOURCES = tests/unit/check_llm_model.c $(llm_rig)
check_llm_model_LDADD = $(llm_model_libs)
check_llm_model_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
check_PROGRAMS += check_llm_weights
check_llm_weights_SOURCES = tests/unit/check_llm_weights.c $(llm_rig)
check_llm_weights_LDADD = libllm.a libtext.a libmodel.a libtensor.a libkernels.a libwire.a libbase.a $(TEXT_LIBS) $(RWF_LIBS) $(CHECK_LIBS)
check_llm_weights_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)

EXTRA_PROGRAMS += tests/bench/llm
tests_bench_llm_SOURCES = tests/bench/llm.c
tests_bench_llm_LDADD = libllm.a libmodel.a libtensor.a libkernels.a libwire.a libbase.a $(RWF_LIBS)
# Makes the models of tests/t/t5500-models.sh, too.
check_DATA += tests/bench/llm$(EXEEXT)
CLEANFILES += tests/bench/llm$(EXEEXT)
check_PROGRAMS += check_llm_quantize
check_llm_quantize_SOURCES = tests/unit/check_llm_quantize.c $(llm_rig)
check_llm_quantize_LDADD = $(llm_model_libs)
check_llm_quantize_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
# On a GPU, against the CPU: skipped unless RAYWF_CUDA names the module.
check_PROGRAMS += check_llm_cuda
check_llm_cuda_SOURCES = tests/unit/check_llm_cuda.c $(llm_rig)
check_llm_cuda_LDADD = $(llm_model_libs)
check_llm_cuda_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
