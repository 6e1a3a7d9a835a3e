#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `models`: a folder that is there, one that is downloaded, one that is quantised; and what a
# user is told when one is wrong.
. "$abs_top_srcdir/tests/t/lib.sh"
llm=$abs_top_builddir/tests/bench/llm
port=
"$llm" random plain '{"type":"transformer","family":"qwen3","layers":1,"hidden_size":128,
    "heads":4,"kv_heads":2,"head_dim":32,"intermediate_size":128,"vocab_size":320,
    "context":128,"tie_embeddings":true}' >/dev/null || exit 99
sum=$(sha256sum plain/model.safetensors | cut -d' ' -f1)

# --- a folder, and the same in four bits ---
echo 'What the model will read, and read again.' >sample.txt
cat >models.yaml <<Y
recipe: raywf/v1
models:
  chat: {path: plain, sha256: {model.safetensors: $sum}}
  small: {from: "\${models.chat}", quantize: {awq: {bits: 4, group_size: 64}}}
  tuned: {from: "\${models.chat}", quantize: {awq: {group_size: 64, calibration: sample.txt}}}
tasks:
  see:
    run: |
      echo \${models.chat} \${models.small}
      ! cmp -s \${models.small}/model.safetensors \${models.tuned}/model.safetensors
      grep -q '"quant_method": "awq"' \${models.small}/config.json
      test -s \${models.small}/tokenizer.json
Y
run 0 raywf check models.yaml
run 0 raywf plan models.yaml
has 'plain'
has 'quantised by AWQ'
run 0 raywf run models.yaml
says '4 succeeded'
ok 'the folder stays where it is' grep -rqsF "$tmp/plain " .raywf/runs
run 0 raywf run models.yaml
says '3 cached'
# the same bytes at another time are another model: nobody reads them to know better
touch -d '2001-01-01' plain/model.safetensors
run 0 raywf run models.yaml
says '4 succeeded'

# --- what is wrong ---
# wrong CODE TEXT: with models.m as in $1
wrong()
{
    printf 'recipe: raywf/v1\nmodels:\n  m: %s\n' "$1" >bad.yaml
    run "$2" raywf run bad.yaml
    says "$3"
}
wrong '{path: nowhere}' 6 "there is no folder"
wrong "{path: plain, sha256: '$(printf '%064d' 1)'}" 6 'the recipe says 0000'
wrong '{path: plain, url: "http://127.0.0.1:1/m"}' 3 'E0'
wrong '{from: plain}' 3 'quantize'
wrong '{path: plain, quantize: {awq: {}}}' 3 'from'
wrong '{from: plain, quantize: {awq: {bits: 3}}}' 3 'bits'
wrong '{from: plain, quantize: {awq: {group_size: 48}}}' 3 'group_size 48'
wrong '{from: plain, quantize: {awq: {group_size: 64, calibration: none.txt}}}' 6 'none.txt'
wrong '{url: "http://127.0.0.1:1/m"}' 7 '127.0.0.1:1'
cp -r plain other
sed -i 's/"num_hidden_layers": 1/"num_hidden_layers": 2/' other/config.json
wrong '{path: other}' 6 "tensor 'model.layers.1.input_layernorm.weight' is in none"
sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 1/; s/"silu"/"gelu"/' other/config.json
wrong '{path: other}' 6 "'hidden_act' is 'gelu'"
head -c 1000 plain/model.safetensors >other/model.safetensors
sed -i 's/"gelu"/"silu"/' other/config.json
wrong '{path: other}' 6 'model.safetensors'

# --- downloaded ---
if command -v python3 >/dev/null; then
    touch server.log
    (cd plain && exec python3 -u -m http.server --bind 127.0.0.1 0) >"$tmp/server.log" 2>&1 &
    server=$!
    trap 'kill $server 2>/dev/null; rm -rf "$tmp"' EXIT
    until_ok grep -q 'port [0-9]' server.log
    port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' server.log | head -n 1)
    cat >get.yaml <<Y
recipe: raywf/v1
models:
  chat: {url: "http://127.0.0.1:$port/", sha256: $sum}
tasks:
  same: {run: "cmp \${models.chat}/model.safetensors $tmp/plain/model.safetensors && test -s \${models.chat}/tokenizer.json"}
Y
    run 0 raywf run get.yaml
    says '2 succeeded'
    run 0 raywf run get.yaml
    says '2 cached'
    wrong "{url: \"http://127.0.0.1:$port\", sha256: '$(printf '%064d' 1)'}" 6 'model.safetensors'
    wrong "{url: \"http://127.0.0.1:$port/no/such\"}" 6 'config.json'

    # What the server has was wrong, and is mended: the next attempt fetches it anew.
    mkdir -p plain/mended && cp other/*.json plain/mended/ && cp other/model.safetensors plain/mended/
    mended="{url: \"http://127.0.0.1:$port/mended\", sha256: $sum}"
    wrong "$mended" 6 'model.safetensors'
    cp plain/*.json plain/model.safetensors plain/mended/
    sed "s|chat: {.*|chat: $mended|" get.yaml >mended.yaml
    run 0 raywf run mended.yaml
    says '1 succeeded, 1 cached'
else
    skip 'download' 'there is no python3'
fi

finish
