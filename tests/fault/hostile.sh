#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Input made to break a parser: refused with exit code 3 and a message (the time limit only
# tells a hang); never a crash, never a report of a sanitizer.
. "$(dirname "$0")/lib.sh" || exit 99

head='recipe: raywf/v1\nname: h\n'

# refused NAME: hostile.yaml is not a recipe, and raywf says so.
refused()
{
    local rc=0
    timeout -k 1 300 "$RAYWF" check hostile.yaml >out 2>err || rc=$?
    if [ $rc = 3 ] && grep -q '[a-z]' err out && ! grep -q 'Sanitizer\|runtime error' err; then
        pass "$1: $(head -n 1 err | cut -c 1-120)"
    else
        fail "$1: exit code $rc: $(cat err out | cut -c 1-300 | tail -n 3)"
    fi
}

# Repeats a text.
times()
{
    local i
    for ((i = 0; i < $1; i++)); do printf '%s' "$2"; done
}

{
    printf "${head}x-a: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for i in $(seq 12); do
        printf "x-a$i: &a$i [*a$((i - 1))"; times 9 ", *a$((i - 1))"; echo "]"
    done
} >hostile.yaml
refused "alias bomb of lists"
{
    printf "${head}x-a: &a0 {a: b}\n"
    for i in $(seq 30); do printf "x-a$i: &a$i {l: *a$((i - 1)), r: *a$((i - 1))}\n"; done
} >hostile.yaml
refused "alias bomb of maps"
printf "${head}x-a: &a [*a]\n" >hostile.yaml
refused "an alias of itself"
printf "${head}tasks: *nothing\n" >hostile.yaml
refused "an alias of nothing"
{ printf "${head}x-deep: "; times 100000 '['; } >hostile.yaml
refused "100,000 open brackets"
{ printf "${head}x-deep: "; times 20000 '['; times 20000 ']'; echo; } >hostile.yaml
refused "20,000 nested lists"
{ printf "${head}x-deep: "; times 20000 '{a: '; times 20000 '}'; echo; } >hostile.yaml
refused "20,000 nested maps"
{ printf "$head"; for i in $(seq 0 500); do printf '%*sx-a:\n' $i ''; done; } >hostile.yaml
refused "500 nested blocks"
{ printf "${head}tasks: {a: {run: '"; head -c 50000000 /dev/zero | tr '\0' a; printf "'}}\n"; } >hostile.yaml
refused "50 MB of text in one scalar"
{ printf "$head"; yes '# nothing to see' | head -c 50000000; } >hostile.yaml
refused "50 MB of comments"
{ printf "${head}x-a: "; times 50000 '- '; } >hostile.yaml
refused "dashes on one line"
printf "${head}tasks: {a: {run: 'a\0b'}}\n" >hostile.yaml
refused "a NUL in a scalar"
{ head -c 100000 /dev/zero; } >hostile.yaml
refused "nothing but NULs"
printf "${head}tasks: {a: {run: \"a\\\\0b\"}}\n" >hostile.yaml
refused "an escaped NUL"
printf "${head}tasks: {a: {run: 'a\xff\xfeb'}}\n" >hostile.yaml
refused "bad UTF-8"
printf "${head}tasks: {a: {run: '\xed\xa0\x80'}}\n" >hostile.yaml
refused "a surrogate in UTF-8"
printf "${head}tasks: {a: {run: '\xc0\xaf'}}\n" >hostile.yaml
refused "overlong UTF-8"
printf "${head}tasks: {a: {run: 'a\x01\x1b[31mb'}}\n" >hostile.yaml
refused "control characters"
printf "${head}tasks:\n\ta:\n\t\trun: x\n" >hostile.yaml
refused "tabs"
printf "${head}tasks: !!python/object:os.system {a: {run: x}}\n" >hostile.yaml
refused "a tag"
printf "${head}tasks: {a: {run: !!binary aGVsbG8=}}\n" >hostile.yaml
refused "a binary tag"
printf "%%YAML 9.9\n---\n${head}" >hostile.yaml
refused "an unknown version of YAML"
printf "${head}---\n${head}" >hostile.yaml
refused "two documents"
: >hostile.yaml
refused "an empty file"
printf '\xef\xbb\xbf' >hostile.yaml
refused "nothing but a byte order mark"
printf "${head}? {a: b}\n: c\n" >hostile.yaml
refused "a map as a key"
printf "${head}<<: {tasks: {}}\n" >hostile.yaml
refused "a merge key"
printf "${head}tasks: {a: {run: '\${" >hostile.yaml
refused "cut off in a reference"
{ printf "${head}tasks: {a: {run: \""; times 20000 '${'; printf "\"}}\n"; } >hostile.yaml
refused "20,000 open references"
{ printf "${head}tasks: {a: {run: x, when: \""; times 50000 '('; printf "\"}}\n"; } >hostile.yaml
refused "50,000 open parentheses in a condition"
{ printf "${head}tasks: {a: {run: x, when: \""; times 50000 '!'; printf "true\"}}\n"; } >hostile.yaml
refused "50,000 negations"
list=$(seq -s, 1000)
printf "${head}tasks: {a: {run: x, matrix: {i: [$list], j: [$list], k: [$list]}}}\n" >hostile.yaml
refused "a matrix of a billion"
printf "${head}tasks: {a: {run: x, timeout: 99999999999999999999h}}\n" >hostile.yaml
refused "a duration that overflows"
printf "${head}tasks: {a: {run: x, resources: {memory: 99999999999999999999TiB}}}\n" >hostile.yaml
refused "a size that overflows"
printf "${head}tasks: {a: {run: x, resources: {cpu: .nan}}}\n" >hostile.yaml
refused "not a number"
printf "${head}tasks: {a: {run: x, outputs: {o: ../../etc/passwd}}}\n" >hostile.yaml
refused "an output outside the step's folder"
printf "${head}include: [hostile.yaml]\n" >hostile.yaml
refused "a file that includes itself"
{ printf "$head"; for i in $(seq 20000); do echo "key$i: 1"; done; } >hostile.yaml
refused "20,000 unknown keys"
head -c 300000 /dev/urandom >hostile.yaml
refused "random bytes"
finish
