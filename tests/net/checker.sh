#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# history_check finds what is wrong with a history, and nothing in a good one.
. "$(dirname "$0")/../fault/lib.sh" || exit 99
check_history=$abs_top_builddir/tests/net/history_check

# good|bad NAME LINES (as ONE LINE with ;) [OPTION]
history()
{
    tr ';' '\n' <<<"$2;end" | sed 's/^ *//; /^$/d' >history
    # shellcheck disable=SC2086 # an option, or none
    "$check_history" ${3:-} history >out
}
good() { check "good: $1" history "$@"; }
bad() { if history "$1" "$3" && :; then fail "bad: $1"; else check "bad: $1" grep -q "$2" out; fi; }

one='submit 1; accepted 1; result 1 a h1; ran 1 a h1 1 7'
good 'one task' "$one"
good 'a second attempt' "$one; ran 1 b h2 2 8"
good 'a third that nobody waits for' 'submit 1; accepted 1; result 1 b h2; ran 1 a h1 1 7; ran 1 b h2 2 8'
good 'the same again' "$one; again 1 a h1; again 1 a h1"
good 'refused at once' "$one; call 2; unanswered 2 5 no actor"
good 'a call' 'call 1; accepted 1; answer 1 a h1; did 1 a h1 1 7'
good 'a call that may have run' 'call 1; accepted 1; unanswered 1 9 its actor died; did 1 a h1 1 7; '"${one//1/2}"
good 'a driver that was killed' "$one; submit 2; accepted 2" --cut
good 'a gang' 'rank g 1 0 2 begin; rank g 1 1 2 begin; rank g 1 1 2 end; rank g 1 0 2 end; gang g 1'
good 'a gang at its second attempt' 'rank g 1 0 2 begin; rank g 2 0 2 begin; rank g 2 1 2 begin;
    rank g 2 1 2 end; rank g 2 0 2 end; gang g 2'

bad 'nothing' 'nothing was done' ''
bad 'lost' 'accepted, and lost' "$one; submit 2; accepted 2"
bad 'two results' 'two outcomes' "$one; result 1 a h1"
bad 'a result and an error' 'failed' "$one; error 1 9 x"
bad 'an error' 'has failed' "$one; submit 2; accepted 2; error 2 9 node gone"
bad 'of nobody' 'nobody made' 'submit 1; accepted 1; result 1 b h1; ran 1 a h1 1 7'
bad 'another value' 'two values' "$one; again 1 b h1"
bad 'another value between readers' 'two values' "$one; again 1 a h1; again 1 b h1"
bad 'never asked for' 'never asked' "$one; ran 2 a h1 1 7"
bad 'a call twice' 'twice' 'call 1; accepted 1; answer 1 a h1; did 1 a h1 1 7; did 1 b h1 1 8'
bad 'an answer of nobody' 'nobody made' 'call 1; accepted 1; answer 1 a h1'
bad 'a wrong value' 'wrong value' "$one; wrong 1"
bad 'half a gang' 'half a gang' 'rank g 1 0 2 begin; rank g 1 0 2 end; gang g 1'
bad 'a rank without an end' 'is done' 'rank g 1 0 1 begin; gang g 1'
bad 'a rank twice' 'twice' 'rank g 1 0 1 begin; rank g 1 0 1 begin; rank g 1 0 1 end; gang g 1'
bad 'two attempts' 'two attempts' 'rank g 1 0 1 begin; rank g 1 0 1 end; rank g 2 0 1 begin; rank g 2 0 1 end; gang g 1; gang g 2'
bad 'two sizes' 'two sizes' 'rank g 1 0 2 begin; rank g 1 0 1 end; gang g 1'
bad 'not a line' 'none' "$one; what is this"
printf 'submit 1\naccepted 1\nresult 1 a h1\nran 1 a h1 1 7\n' >history
if "$check_history" history >out; then fail 'no end'; else check 'no end' grep -q 'its end' out; fi
finish
