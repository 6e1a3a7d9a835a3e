#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Completion scripts: valid for their shell, and complete.
. "$abs_top_srcdir/tests/t/lib.sh"

for shell in bash zsh fish; do
    run 0 raywf completion "$shell"
    cp .out "$shell.sh"
    # Everything that the help shows must be in the script.
    for c in $(raywf --help | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p'); do
        ok "$shell knows $c" grep -q -e "$c" "$shell.sh"
        for o in $(raywf "$c" --help | sed -n 's/^  \(-., \)\{0,1\}--\([a-z-]*\).*/\2/p'); do
            ok "$shell: $c --$o" grep -q -e "[- ]$o" "$shell.sh"
        done
    done
done
if command -v bash >/dev/null; then
    ok 'bash takes it' bash -n bash.sh
    complete_bash()
    {
        bash -c '. ./bash.sh; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _raywf
                 printf "%s\n" "${COMPREPLY[@]}"' - "$@"
    }
    out=$(complete_bash raywf che) command='complete che'
    has check
    out=$(complete_bash raywf run --prog) command='complete run --prog'
    has --progress
    out=$(complete_bash raywf run --progress p) command='complete --progress p'
    has plain
    touch a-recipe.yaml
    out=$(complete_bash raywf check a-rec) command='complete a file'
    has a-recipe.yaml
    out=$(complete_bash raywf cache '') command='complete cache'
    has verify
    out=$(complete_bash raywf nodes d) command='complete nodes'
    has drain
    out=$(complete_bash raywf job submit a-rec) command='complete what a verb takes'
    has a-recipe.yaml
else
    skip bash 'not installed'
fi
for shell in zsh fish; do
    if command -v "$shell" >/dev/null; then
        ok "$shell takes it" "$shell" -n "$shell.sh"
    else
        skip "$shell" 'not installed'
    fi
done
finish
