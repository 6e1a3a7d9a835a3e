#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Updates under load: every request is answered well, also while a version that cannot work is
# rolled back; and scaling down drops nothing.
. "$(dirname "$0")/lib.sh" || exit 99
. "$abs_top_srcdir/tests/fault/serve.sh"

all_well() { [ "$(count_of refused)" = 0 ] && [ "$(count_of lost)" = 0 ]; }

free_port
served slow 'replicas: 2' >recipe.yaml
check "it serves" serve_up recipe.yaml || finish
load
goes_on
served echo 'replicas: 3' >recipe.yaml
check "another function" "$RAYWF" serve update recipe.yaml
served echo 'replicas: 3' 'content_type: text/plain' >recipe.yaml
check "another type" "$RAYWF" serve update recipe.yaml
served nosuch 'replicas: 3' >recipe.yaml
if "$RAYWF" serve update recipe.yaml 2>update.err; then fail "a version that cannot work"; else
    check "a version that cannot work says why" grep -q nosuch update.err
fi
check "down to one" "$RAYWF" serve scale api 1
goes_on
check "up to four" "$RAYWF" serve scale api 4
goes_on
load_end
check "every request is answered" closely
check "and well" all_well
check "none is worked on twice" never_twice
check "what was answered was worked on" truly
# A version that comes up, and then fails: it had few requests, and is taken back.
canary='update: {canary: 0.25, hold: 3s, max_error_rate: 0.1}'
served echo 'replicas: 2' "$canary" >recipe.yaml
check "another strategy" "$RAYWF" serve update recipe.yaml
load
goes_on
served fail 'replicas: 2' "$canary" >recipe.yaml
if "$RAYWF" serve update recipe.yaml 2>update.err; then fail "a version that fails"; else
    pass "a version that fails is rolled back"
fi
check "and the events say why" grep -q '"state":"rolled_back".*reason' <("$RAYWF" events last --type serve.update)
load_end
check "canary: every request is answered or refused in words" closely
check "canary: most are answered well" test "$(count_of ok)" -gt "$(count_of refused)"
check "canary: what was live answers" curl -sSf -d '{"id":"after"}' "http://127.0.0.1:$port/api"
check "it ends well" down
finish
