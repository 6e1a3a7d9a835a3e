# SPDX-License-Identifier: Apache-2.0
# Unit tests: one program per part. Each folder's tests are listed in tests/unit/FOLDER.mk.
TEST_EXTENSIONS = .sh
AM_TESTS_ENVIRONMENT = RAYWF=$(abs_top_builddir)/raywf; export RAYWF; \
	srcdir=$(srcdir); export srcdir; abs_top_srcdir=$(abs_top_srcdir); \
	export abs_top_srcdir; abs_top_builddir=$(abs_top_builddir); export abs_top_builddir; \
	CK_TIMEOUT_MULTIPLIER=10; export CK_TIMEOUT_MULTIPLIER;

TOOL_TESTS = tools/check-includes.sh %D%/unit/check_includes.sh %D%/unit/check_bootstrap.sh \
	%D%/unit/check_count.sh
dist_check_SCRIPTS += $(TOOL_TESTS)
TESTS += $(TOOL_TESTS)
if HAVE_CHECK
include %D%/unit/base.mk
include %D%/unit/recipe.mk
include %D%/unit/plan.mk
include %D%/unit/schedule.mk
include %D%/unit/wire.mk
include %D%/unit/bundle.mk
include %D%/unit/native.mk
include %D%/unit/node.mk
include %D%/unit/step.mk
include %D%/unit/bridge.mk
include %D%/unit/store.mk
include %D%/unit/peer.mk
include %D%/unit/head.mk
include %D%/unit/job.mk
include %D%/unit/cluster.mk
include %D%/unit/search.mk
include %D%/unit/run.mk
include %D%/unit/away.mk
include %D%/unit/data.mk
include %D%/unit/view.mk
include %D%/unit/kernels.mk
include %D%/unit/cuda.mk
include %D%/unit/tensor.mk
include %D%/unit/text.mk
include %D%/unit/model.mk
include %D%/unit/train_data.mk
include %D%/unit/train_loop.mk
include %D%/unit/gang.mk
include %D%/unit/train_op.mk
include %D%/unit/tune.mk
include %D%/unit/http.mk
include %D%/unit/serve.mk
include %D%/unit/serve_server.mk
include %D%/unit/llm_model.mk
include %D%/unit/llm_engine.mk
include %D%/unit/llm_text.mk
include %D%/unit/llm_api.mk
TESTS += $(check_PROGRAMS)
endif
include %D%/t/local.mk
include %D%/net/local.mk
include %D%/fault/local.mk
include %D%/fuzz/local.mk
include %D%/bench/local.mk
EXTRA_DIST += tests/all.sh tests/count.sh tests/until.sh tests/certs.sh tests/tsan.supp
