# SPDX-License-Identifier: Apache-2.0
# libFuzzer targets: configure CC=clang --enable-fuzzers, make check-fuzz FUZZ_SECONDS=60.
FUZZ_TARGETS = fuzz_yaml fuzz_expr fuzz_events fuzz_frame fuzz_safetensors fuzz_tokenizer
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
fuzz_events_LDADD = librun.a libsearch.a libtune.a libnode.a libschedule.a libplan.a librecipe.a libwire.a libbase.a $(RWF_LIBS)
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

check-fuzz: $(FUZZ_TARGETS)
	$(srcdir)/%D%/run.sh $(srcdir) $(FUZZ_SECONDS) $(FUZZ_TARGETS)
endif
