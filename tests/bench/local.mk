# SPDX-License-Identifier: Apache-2.0
# Measurements: run by hand, on a quiet machine. RESULTS.md has the figures.
EXTRA_DIST += %D%/lib.sh %D%/startup.sh %D%/noop.sh %D%/rerun.sh %D%/history.sh %D%/RESULTS.md
EXTRA_DIST += %D%/proc_rate.sh %D%/simulate.sh
EXTRA_PROGRAMS += tests/bench/proc_rate
tests_bench_proc_rate_SOURCES = tests/bench/proc_rate.c
tests_bench_proc_rate_LDADD = librun.a libsearch.a libtune.a libfar.a libnode.a libpeer.a libbundle.a \
	libschedule.a libplan.a librecipe.a libbase.a $(RWF_LIBS)
EXTRA_DIST += %D%/tune_rate.sh %D%/tune_ray.py
EXTRA_DIST += %D%/dataset.sh %D%/gang.sh
EXTRA_PROGRAMS += tests/bench/duck_alone
tests_bench_duck_alone_SOURCES = tests/bench/duck_alone.c
tests_bench_duck_alone_LDADD = libdata.a libbase.a $(RWF_LIBS)
# Against Ray; the head of core.sh says how.
EXTRA_DIST += %D%/core.sh %D%/core_ray.py %D%/core_table.py %D%/metg.py %D%/metg.svg
EXTRA_PROGRAMS += tests/bench/core_floor
tests_bench_core_floor_SOURCES = tests/bench/core_floor.c
tests_bench_core_floor_LDADD = libstore.a libbase.a $(RWF_LIBS)
EXTRA_PROGRAMS += tests/bench/core
tests_bench_core_SOURCES = tests/bench/core.c
tests_bench_core_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/native
tests_bench_core_LDADD = libraywf.so
tests_bench_core_LDFLAGS = $(AM_LDFLAGS) -Wl,-rpath,$(abs_top_builddir)
EXTRA_DIST += %D%/core_plugin.c
CLEANFILES += tests/bench/core_plugin.so
tests/bench/core_plugin.so: tests/bench/core_plugin.c src/native/raywf.h
	$(AM_V_CCLD)$(MKDIR_P) tests/bench && $(CC) $(WARN_CFLAGS) $(CFLAGS) -std=gnu11 -fPIC \
		-shared -I$(top_srcdir)/src/native -o $@ $(srcdir)/tests/bench/core_plugin.c
EXTRA_PROGRAMS += tests/bench/store
tests_bench_store_SOURCES = tests/bench/store.c
tests_bench_store_LDADD = libstore.a libbase.a $(RWF_LIBS)
EXTRA_PROGRAMS += tests/bench/checkpoint
tests_bench_checkpoint_SOURCES = tests/bench/checkpoint.c
tests_bench_checkpoint_LDADD = libtrain.a libtensor.a libbase.a $(RWF_LIBS)
# The CPU's kernels against peak, OpenBLAS and PyTorch.
EXTRA_DIST += %D%/kernels.sh %D%/kernels_torch.py
EXTRA_PROGRAMS += tests/bench/kernels
tests_bench_kernels_SOURCES = tests/bench/kernels.c
tests_bench_kernels_LDADD = libkernels.a -lm -ldl -lpthread
EXTRA_DIST += %D%/feed.sh
EXTRA_PROGRAMS += tests/bench/feed
tests_bench_feed_SOURCES = tests/bench/feed.c
tests_bench_feed_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
tests_bench_feed_LDADD = $(TRAIN_DATA_LDADD)
# Against Hugging Face tokenizers; the head of tokenizer.sh says how.
EXTRA_DIST += %D%/tokenizer.sh %D%/tokenizer.py
EXTRA_PROGRAMS += tests/bench/tokenizer
tests_bench_tokenizer_SOURCES = tests/bench/tokenizer.c
tests_bench_tokenizer_LDADD = libtext.a libbase.a $(TEXT_LIBS) $(RWF_LIBS)
# On a GPU; the head of gpt2_step.c says how. gpt2_torch.py is its peer.
EXTRA_DIST += %D%/gpt2_torch.py %D%/train_gpu.py
EXTRA_PROGRAMS += tests/bench/gpt2_step
tests_bench_gpt2_step_SOURCES = tests/bench/gpt2_step.c
tests_bench_gpt2_step_LDADD = -ldl -lm
# The kernels of inference; the head of infer_gpu.c says how.
EXTRA_PROGRAMS += tests/bench/infer_gpu
tests_bench_infer_gpu_SOURCES = tests/bench/infer_gpu.c tests/bench/infer_gpu.h \
	tests/bench/infer_gpu_steps.c
tests_bench_infer_gpu_LDADD = -ldl -lm
# An MLP against PyTorch, one rank and two; the head of train.sh says how.
EXTRA_DIST += %D%/train.sh %D%/train_torch.py %D%/train_gpu.sh
EXTRA_PROGRAMS += tests/bench/train
tests_bench_train_SOURCES = tests/bench/train.c
tests_bench_train_LDADD = libbase.a $(RWF_LIBS)
# Search, beside Optuna; the head of tune_quality.sh says how.
EXTRA_DIST += %D%/tune_quality.sh %D%/tune_quality.py
EXTRA_PROGRAMS += tests/bench/tune_quality
tests_bench_tune_quality_SOURCES = tests/bench/tune_quality.c tests/unit/tune_functions.h
tests_bench_tune_quality_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/unit
tests_bench_tune_quality_LDADD = libtune.a libbase.a $(RWF_LIBS)
# A step of decoding on the CPU against a plain read of its bytes.
EXTRA_PROGRAMS += tests/bench/infer_kernels
tests_bench_infer_kernels_SOURCES = tests/bench/infer_kernels.c
tests_bench_infer_kernels_LDADD = libkernels.a -lm -lpthread
# The HTTP server beside nginx and libmicrohttpd alone; the head of http.sh says how.
EXTRA_DIST += %D%/http.sh
EXTRA_PROGRAMS += tests/bench/http_server
tests_bench_http_server_SOURCES = tests/bench/http_server.c
tests_bench_http_server_CFLAGS = $(AM_CFLAGS) $(MICROHTTPD_CFLAGS)
tests_bench_http_server_LDADD = libhttp.a libbase.a $(RWF_LIBS)
# What the engine of inference costs per step, on a model that takes no time.
EXTRA_PROGRAMS += tests/bench/llm_engine
tests_bench_llm_engine_SOURCES = tests/bench/llm_engine.c
tests_bench_llm_engine_LDADD = libllm.a libbase.a $(RWF_LIBS)
# Serving from end to end, beside nginx and Ray Serve; the head of serve.sh says how.
EXTRA_DIST += %D%/llm_gpu.sh %D%/serve.sh %D%/serve_plugin.c %D%/serve_ray.py
EXTRA_PROGRAMS += tests/bench/http_load
tests_bench_http_load_SOURCES = tests/bench/http_load.c
# Clusters, on hosts that are network namespaces; the head of cluster.sh says how.
EXTRA_DIST += %D%/cluster.sh %D%/cluster_plugin.c
EXTRA_PROGRAMS += tests/bench/cluster
tests_bench_cluster_SOURCES = tests/bench/cluster.c
tests_bench_cluster_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/src/native
tests_bench_cluster_LDADD = libraywf.so
tests_bench_cluster_LDFLAGS = $(AM_LDFLAGS) -Wl,-rpath,$(abs_top_builddir)
# Objects between nodes beside a plain socket copy; the head of object_net.sh says how.
EXTRA_DIST += %D%/object_net.sh
EXTRA_PROGRAMS += tests/bench/object_net
tests_bench_object_net_SOURCES = tests/bench/object_net.c
tests_bench_object_net_LDADD = libpeer.a libstore.a libwire.a libbase.a $(RWF_LIBS)
