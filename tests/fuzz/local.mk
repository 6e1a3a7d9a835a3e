# SPDX-License-Identifier: Apache-2.0
# libFuzzer targets: configure CC=clang --enable-fuzzers, make check-fuzz FUZZ_SECONDS=60.
FUZZ_TARGETS = fuzz_yaml fuzz_expr fuzz_events fuzz_frame fuzz_safetensors fuzz_tokenizer fuzz_serve \
	fuzz_http fuzz_llm fuzz_bundle fuzz_step
FUZZ_SECONDS = 60
EXTRA_DIST += %D%/run.sh %D%/seeds
if FUZZERS
noinst_PROGRAMS += $(FUZZ_TARGETS)
fuzz_yaml_SOURCES = %D%/fuzz_yaml.c
fuzz_yaml_LDADD = librecipe.a libbase.a $(RWF_LIBS)
fuzz_yaml_LDFLAGS = -fsanitize=fuzzer
fuzz_expr_SOURCES = %D%/fuzz_expr.c
fuzz_expr_LDADD = librecipe.a libbase.a $(RWF_LIBS)
fuzz_expr_LDFLAGS = -fsanitize=fuzzer
fuzz_events_SOURCES = %D%/fuzz_events.c
fuzz_events_LDADD = librun.a libsearch.a libtune.a libfar.a libnode.a libpeer.a libbundle.a \
	libschedule.a libplan.a librecipe.a libwire.a libbase.a $(RWF_LIBS)
fuzz_events_LDFLAGS = -fsanitize=fuzzer
fuzz_frame_SOURCES = %D%/fuzz_frame.c
fuzz_frame_LDADD = libwire.a libbase.a $(RWF_LIBS)
fuzz_frame_LDFLAGS = -fsanitize=fuzzer
fuzz_safetensors_SOURCES = %D%/fuzz_safetensors.c
fuzz_safetensors_LDADD = libtensor.a libbase.a $(RWF_LIBS)
fuzz_safetensors_LDFLAGS = -fsanitize=fuzzer
fuzz_tokenizer_SOURCES = %D%/fuzz_tokenizer.c
fuzz_tokenizer_LDADD = libtext.a libbase.a $(TEXT_LIBS) $(RWF_LIBS)
fuzz_tokenizer_LDFLAGS = -fsanitize=fuzzer
fuzz_serve_SOURCES = %D%/fuzz_serve.c
fuzz_serve_LDADD = libserve.a librecipe.a libbase.a $(RWF_LIBS)
fuzz_serve_LDFLAGS = -fsanitize=fuzzer
fuzz_http_SOURCES = %D%/fuzz_http.c
fuzz_http_LDADD = libhttp.a libbase.a $(RWF_LIBS)
fuzz_http_LDFLAGS = -fsanitize=fuzzer
fuzz_llm_SOURCES = %D%/fuzz_llm.c
fuzz_llm_LDADD = libllm.a libtext.a libbase.a $(TEXT_LIBS) $(RWF_LIBS) -lm
fuzz_llm_LDFLAGS = -fsanitize=fuzzer
fuzz_bundle_SOURCES = %D%/fuzz_bundle.c
fuzz_bundle_LDADD = libbundle.a libbase.a $(RWF_LIBS)
fuzz_bundle_LDFLAGS = -fsanitize=fuzzer
fuzz_step_SOURCES = %D%/fuzz_step.c
fuzz_step_LDADD = libfar.a libnode.a libpeer.a libbundle.a libstore.a libschedule.a libplan.a librecipe.a libwire.a \
	libbase.a $(RWF_LIBS)
fuzz_step_LDFLAGS = -fsanitize=fuzzer

# What is generated comes first.
fuzzers: $(BUILT_SOURCES)
	$(MAKE) $(AM_MAKEFLAGS) $(FUZZ_TARGETS)
check-fuzz: $(FUZZ_TARGETS)
	$(srcdir)/%D%/run.sh $(srcdir) $(FUZZ_SECONDS) $(FUZZ_TARGETS)
endif
