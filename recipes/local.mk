# SPDX-License-Identifier: Apache-2.0
# Recipes and what they need, installed as they are.
nobase_dist_pkgdata_DATA += \
	%D%/quickstart.yaml %D%/quickstart/iris.csv \
	%D%/train-mlp.yaml %D%/train-ddp.yaml %D%/lm-tiny.yaml %D%/lm/stories.awk \
	%D%/gpt2-124m.yaml %D%/qwen3-lora.yaml \
	%D%/train-pytorch.yaml %D%/pytorch/ddp.py %D%/pytorch/forest.py \
	%D%/cache-resume.yaml %D%/matrix-ci.yaml %D%/cluster-local.yaml \
	%D%/plugin/stats.c %D%/plugin/stats.h %D%/plugin/driver.c \
	%D%/tune-asha.yaml %D%/tune-pbt.yaml %D%/tune-command.yaml \
	%D%/native.yaml %D%/native/words.c %D%/gang.yaml %D%/gang/pi.c \
	%D%/serve-model.yaml %D%/serve-graph.yaml %D%/serve-python.yaml %D%/serve-canary.yaml \
	%D%/llm-tiny.yaml %D%/serve/text.c %D%/serve/load.c %D%/serve/app.py \
	%D%/datasets.yaml %D%/datasets/band.awk %D%/datasets/countries.csv
