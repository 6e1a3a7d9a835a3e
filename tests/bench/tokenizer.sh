#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tokenizer.sh [FILE]: encoding, training and sameness against Hugging Face tokenizers, one
# core each, in one run. From the build folder, after make tests/bench/tokenizer. PYTHON has
# tokenizers; FILE is UTF-8 text, ENCODE_MB of it are encoded and all of it is learned from
# (default: 100 MB of English-like words). STRINGS random strings are compared.
set -eu
here=$(dirname "$0")
python=${PYTHON:-python3}
tool=$(pwd)/tests/bench/tokenizer
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export TOKENIZERS_PARALLELISM=false RAYON_NUM_THREADS=1

if [ $# -gt 0 ]; then
    cp "$1" "$dir/text"
else
    "$python" "$here/tokenizer.py" words 100 >"$dir/text"
fi
echo "training on $(wc -c <"$dir/text") bytes, vocabulary of 30000"
taskset -c 0 "$tool" train 30000 "$dir/text" "<|endoftext|>" >"$dir/gpt2.json"
taskset -c 0 "$python" "$here/tokenizer.py" trained "$dir/text" "$dir/gpt2.json"
"$python" "$here/tokenizer.py" qwen "$dir/gpt2.json" >"$dir/qwen.json"
"$python" "$here/tokenizer.py" head "${ENCODE_MB:-20}" "$dir/text" >"$dir/part"
for kind in gpt2 qwen; do
    echo "encoding with the pattern of $kind"
    taskset -c 0 "$tool" speed "$dir/$kind.json" "$dir/part" | sort -k2 -n | tail -n 1
    taskset -c 0 "$python" "$here/tokenizer.py" speed "$dir/$kind.json" "$dir/part"
done
for kind in gpt2 qwen; do
    "$python" "$here/tokenizer.py" same "$dir/$kind.json" "${STRINGS:-100000}" "$tool"
done
