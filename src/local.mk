# SPDX-License-Identifier: Apache-2.0
# One archive per folder; the program links them in the order of DEPS, reversed.
include %D%/base/local.mk
include %D%/recipe/local.mk
include %D%/plan/local.mk
include %D%/schedule/local.mk
include %D%/wire/local.mk
include %D%/store/local.mk
include %D%/native/local.mk
include %D%/node/local.mk
include %D%/head/local.mk
include %D%/search/local.mk
include %D%/run/local.mk
include %D%/data/local.mk
include %D%/tensor/local.mk
include %D%/text/local.mk
include %D%/model/local.mk
include %D%/train/local.mk
include %D%/tune/local.mk
include %D%/rank/local.mk
include %D%/view/local.mk
include %D%/cmd/local.mk
