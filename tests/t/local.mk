# SPDX-License-Identifier: Apache-2.0
# End to end, numbered by layer so that the first failure is the most basic one.

CORPUS_TESTS = tests/t/t1010-corpus.sh tests/t/t1011-schema-agrees.sh
dist_check_SCRIPTS += $(CORPUS_TESTS)
TESTS += $(CORPUS_TESTS)
EXTRA_DIST += tests/corpus tests/t/schema_agrees.py
