# SPDX-License-Identifier: Apache-2.0
# Measurements: run by hand, on a quiet machine. RESULTS.md has the figures.
EXTRA_DIST += %D%/lib.sh %D%/startup.sh %D%/noop.sh %D%/rerun.sh %D%/history.sh %D%/RESULTS.md
EXTRA_DIST += %D%/proc_rate.sh
EXTRA_PROGRAMS = tests/bench/proc_rate
tests_bench_proc_rate_SOURCES = tests/bench/proc_rate.c
tests_bench_proc_rate_LDADD = librun.a libnode.a libschedule.a libplan.a librecipe.a libbase.a $(RWF_LIBS)
EXTRA_DIST += %D%/dataset.sh
EXTRA_PROGRAMS += tests/bench/duck_alone
tests_bench_duck_alone_SOURCES = tests/bench/duck_alone.c
tests_bench_duck_alone_LDADD = libdata.a libbase.a $(RWF_LIBS)
