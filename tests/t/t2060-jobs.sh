#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Jobs: recipes that are sent to a head, run there, outlive their client and the head, and
# bring back what they made.
. "$abs_top_srcdir/tests/t/lib.sh"
unset RAYWF_CLUSTER_ADDRESS RAYWF_CLUSTER_KEY
export RAYWF_CLUSTER=$tmp/c
trap 'touch "$tmp"/go*; raywf shutdown -q --timeout 20s; rm -rf "$tmp"' EXIT

state() { raywf job status "$1" --format json | json state; }
is() { [ "$(state "$1")" = "$2" ]; }
ends_as()
{
    if until_ok is "$1" "$2"; then
        pass
    else
        fail "$1 ends as $2" "$(raywf job status "$1")" "$(raywf job logs "$1" --tail 20)"
    fi
}
# Its step has begun.
begun() { raywf job logs "$1" | grep -q '▶ tasks.a'; }
start_head() { run 0 raywf start --head --no-node --jobs 2 --port "$1"; }
# It is gone, and so is its hold on its port.
kill_head()
{
    _head=$(cat c/head/pid)
    kill -9 "$_head"
    until_ok gone "$_head"
}
# The folder of the newest job of that name, and the processes that files there tell of.
of() { dirname "$(grep -l "\"name\":\"$1\"" c/head/jobs/*/task.json | tail -n 1)"; }
pid_in() { sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$@"; }
# It outlives the head, as the nodes of a cluster do.
start_node() { run 0 raywf start --address "$address" --key c/head/key --cpu 8 --store 16MiB --name one; }

cat >fits.py <<'PY'
import json, sys
from jsonschema import Draft202012Validator as V
s = json.load(open(sys.argv[1]))
V.check_schema(s)
doc = json.loads(sys.stdin.read())
V(s).validate(doc["data"])
PY
# What --format json has printed last fits its schema.
fits()
{
    if python3 -c 'import jsonschema' 2>/dev/null; then
        ok "$1 fits" sh -c "python3 fits.py '$abs_top_srcdir/schemas/outputs/job.json' <.out"
    else
        skip "$1 fits" 'no python3 with jsonschema'
    fi
}

# --- how it is called ---
mkdir w && cat >w/r.yaml <<'Y'
recipe: raywf/v1
name: first
params: {word: {type: string, default: one}}
tasks:
  a: {run: "echo ${params.word} $GREETING | tee o.txt", outputs: {o: o.txt}}
  b: {run: "cat ${tasks.a.outputs.o} >result.txt; ls -A >seen.txt; echo more >>grows.txt", dir: .}
Y
echo begun >w/grows.txt
echo 'secret.txt' >w/.gitignore
echo 'large/' >w/.raywfignore
echo private >w/secret.txt
mkdir w/large && echo data >w/large/data
run 2 raywf job
run 2 raywf job submit
run 2 raywf job status
says 'which job'
run 2 raywf job list --detach
says 'no effect with job list'
run 2 raywf job submit w/r.yaml --detach --output x
run 7 raywf job list
says 'raywf start'
run 7 raywf job list --address 127.0.0.1:1 --key nowhere
start_head 0
address=$(cat c/head/address)
run 0 raywf job list
says 'no jobs'
run 12 raywf job status nothing
says "there is no job 'nothing'"
run 12 raywf job logs nothing
run 12 raywf job stop nothing

# --- what is wrong is said before anything is sent ---
printf 'recipe: raywf/v1\ntasks: {a: {rum: x}}\n' >bad.yaml
run 3 raywf job submit bad.yaml
says rum
run 2 raywf job submit w/r.yaml --schedule '61 * * * *'
says "minute '61'"
run 2 raywf job submit w/r.yaml --schedule '0 0 31 2 *'
says 'no such day'
run 2 raywf job submit w/r.yaml --priority high
run 2 raywf job submit w/r.yaml --env NOT_SET_ANYWHERE
says 'not set here'
run 12 raywf job submit w/r.yaml --needs nobody
says "needs: there is no job 'nobody'"
mkdir l && cp w/r.yaml l && ln -s /etc l/out
run 6 raywf job submit l/r.yaml
says "the link"
says "l/out' cannot travel"
mkdir deep && printf 'recipe: raywf/v1\ninclude: [../w/r.yaml]\n' >deep/r.yaml
run 3 raywf job submit deep/r.yaml
says "not in the recipe's folder"
run 0 raywf job list
says 'no jobs'

# --- without a node it waits for one ---
printf 'recipe: raywf/v1\ntasks: {a: {run: "true"}}\n' >w/none.yaml
run 0 raywf job submit w/none.yaml --detach
says "waits for a node: raywf start --address $address"
start_node
ends_as none succeeded
run 0 raywf job delete none
rm w/none.yaml

# --- attached: its output, its files, its exit code ---
run 0 raywf job submit w/r.yaml --env GREETING=hello --param word=two
has 'two hello'
says succeeded
ok 'a file it wrote is back' test "$(cat w/result.txt)" = 'two hello'
ok 'one it changed, too' test "$(paste -sd' ' w/grows.txt)" = 'begun more'
ok 'so is an output' test "$(cat w/.raywf/jobs/*/tasks.a/o.txt)" = 'two hello'
ok 'ignored files stay' sh -c '! grep -qE "secret|large" w/seen.txt && grep -q r.yaml w/seen.txt'
run 0 raywf job status r
has 'state       succeeded'
has GREETING
run 0 raywf job status r --format json
has '"env":["GREETING"]'
fits status
hasnt hello
ok 'one bundle is kept' test "$(ls c/head/jobs/bundles | wc -l)" -eq 1
# --- a secret ---
cat >w/secret.yaml <<'Y'
recipe: raywf/v1
tasks: {a: {run: "echo it is $MY_KEY; env >vars.txt", outputs: {e: vars.txt}}}
Y
run 0 env MY_KEY=hidden-value raywf job submit w/secret.yaml --env MY_KEY -o back
has 'it is [secret:MY_KEY]'
ok 'the step has it' grep -q '^MY_KEY=hidden-value$' back/outputs/tasks.a/vars.txt
ok 'no log, list or command line has it' sh -c '! grep -rl --exclude=vars.txt hidden-value c/head/log c/head/jobs/*/log.* c/head/jobs/*/work/.raywf/runs c/nodes 2>/dev/null | grep .'
cat >w/fails.yaml <<'Y'
recipe: raywf/v1
tasks: {a: {run: "echo it breaks >&2; exit 4"}}
Y
run 1 raywf job submit w/fails.yaml
has 'it breaks'
says failed
run 0 raywf job logs fails --format json
has '"state":"failed"'
has 'it breaks\n'
fits logs
run 0 raywf job logs fails --tail 0 --format json
has '"text":""'
run 2 raywf job logs -f fails --format json
has 'no effect with --format json'
run 0 raywf job logs fails --tail 1
ok 'the last line alone' test "$(wc -l <.out)" -eq 1
run 2 raywf job submit w/r.yaml --format json --no-outputs --name 'x' --needs r,r --retries -1
run 0 raywf job submit w/r.yaml --format json --no-outputs
has '"state":"succeeded"'
fits submit
run 0 raywf job outputs r json --format json
fits outputs

# --- a file that was changed here meanwhile is kept ---
mkdir k && cat >k/r.yaml <<'Y'
recipe: raywf/v1
tasks: {a: {run: "until [ -e $GO ]; do sleep 0.05; done; echo job >both.txt", dir: .}}
Y
echo before >k/both.txt
run 0 raywf job submit k/r.yaml --detach --name keep --env GO="$tmp/go-keep"
keep=$out
echo mine >k/both.txt
run 2 raywf job outputs keep k
says 'when it has ended'
touch go-keep
ends_as keep succeeded
run 0 raywf job outputs keep k
says 'kept       both.txt'
ok 'mine is mine' test "$(cat k/both.txt)" = mine
ok "the job's is beside it" test "$(cat k/both.txt."$keep")" = job
run 0 raywf job outputs "$keep" fresh
ok 'elsewhere it is plain' test "$(cat fresh/both.txt)" = job

# --- a head that lies cannot write where no job may ---
out=$(echo c/head/jobs/"$keep"/out)
mkdir -p "$out/files/.git/hooks" && echo evil >"$out/files/.git/hooks/post" && cp "$out/manifest.json" .
for path in .git/hooks/post ../up /etc/up gone; do
    echo "{\"files\":{\"$path\":null}}" >"c/head/jobs/$keep/out/manifest.json"
    run 6 raywf job outputs keep lied
done
ok 'nothing came' test -z "$(ls -A lied)"
cp manifest.json "c/head/jobs/$keep/out/manifest.json"

# --- from another machine: with the key, and with another one ---
run 0 env RAYWF_CLUSTER="$tmp/other" raywf job list --address "$address" --key c/head/key
has keep
run 0 env RAYWF_CLUSTER="$tmp/other" RAYWF_CLUSTER_ADDRESS="$address" RAYWF_CLUSTER_KEY=c/head/key raywf job list
has keep
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >wrong.key
chmod 600 wrong.key
run 7 raywf job list --address "$address" --key wrong.key
says key
chmod 644 wrong.key
run 7 raywf job list --address "$address" --key wrong.key

# --- needs, priority, retries ---
mkdir q && cat >q/wait.yaml <<'Y'
recipe: raywf/v1
tasks: {a: {run: "until [ -e $GO ]; do sleep 0.05; done; echo $NAME >>$ORDER"}}
Y
cat >q/once.yaml <<'Y'
recipe: raywf/v1
tasks:
  first: {run: "echo first >>$COUNT"}
  second: {run: "echo second >>$COUNT; [ $(grep -c second $COUNT) -gt 1 ]", needs: [tasks.first]}
Y
go=$tmp/go-queue order=$tmp/order
queue() { run 0 raywf job submit q/wait.yaml -q -d --name "$1" --env NAME="$1" --env ORDER="$order" --env GO="$go" "${@:2}"; }
queue one
queue two
ok 'two run' until_ok is two running
queue low --priority -1
queue high --priority 5
queue after --needs low
ok 'the others wait' is high queued
run 0 raywf job status high
has 'waits       for its turn: 2 jobs'
run 0 raywf job status after
has "waits       for job "
run 2 raywf job delete low
run 2 raywf job retry low
says 'but it is queued'
touch "$go"
ends_as after succeeded
started() { raywf job status "$1" --format json | json started; }
ok 'by priority' test "$(started high)" \< "$(started low)"
ok 'then by needs' test "$(grep -x 'low\|after' order | paste -sd' ')" = 'low after'
run 0 raywf job submit q/once.yaml --retries 1 --env COUNT="$tmp/count" --no-outputs
ok 'what had succeeded did not run again' test "$(paste -sd' ' count)" = 'first second second'
run 0 raywf job status once
has 'attempt     2'
rm -f count
run 1 raywf job submit q/once.yaml --name twice --env COUNT="$tmp/count" --no-outputs
run 1 raywf job submit q/wait.yaml --needs twice --no-outputs --env GO="$go" --env ORDER=x --env NAME=x
says 'which is failed'
run 0 raywf job retry twice
ends_as twice succeeded
ok 'a retry goes on, too' test "$(paste -sd' ' count)" = 'first second second'

# --- stop and delete ---
rm -f "$go"
queue stopped
ok 'it runs' until_ok is stopped running
run 2 raywf job delete stopped
says 'stop it first'
run 0 raywf job stop stopped --format json
has '"state":"stopped"'
fits stop
ok 'it is stopped' is stopped stopped
run 2 raywf job stop stopped
run 0 raywf job retry stopped
touch "$go"
ends_as stopped succeeded
run 0 raywf job delete stopped
run 12 raywf job status stopped

# --- a client that goes away ---
rm -f "$go"
raywf job submit q/wait.yaml --name leave --env GO="$go" --env ORDER="$order" --env NAME=leave >leave.out 2>leave.err &
client=$!
ok 'it is followed' until_ok grep -q '▶ tasks.a' leave.out leave.err
kill -TERM "$client"
wait "$client"
ok 'the client ends with 9' test $? -eq 9
ok 'it says that the job goes on' grep -q 'goes on: raywf job logs -f' leave.err
ok 'and it does' is leave running

# --- the head is killed while jobs run ---
port=${address##*:}
raywf job logs -f leave >follow.out 2>follow.err &
follower=$!
queue survives
ok 'both have begun' until_ok begun survives
ok 'both have begun' until_ok begun leave
ok 'one is followed' until_ok grep -q '▶ tasks.a' follow.out
ok 'it says who it is' until_ok test -s "$(of survives)/alive.json"
driver=$(pid_in "$(of survives)/alive.json")
kill_head
run 7 raywf job list
start_head "$port"
run 0 raywf job list
has survives
ok 'they still run' is survives running
ok 'the same process' test -d "/proc/$driver"
touch "$go"
ends_as survives succeeded
ends_as leave succeeded
if wait "$follower"; then pass; else fail 'who followed it sees the end' "$(cat follow.err)"; fi
ok 'each ran once' test "$(grep -c survives order)$(grep -c leave order)" = 11

# --- the process of a job is killed, and it ends while the head is away ---
rm -f "$go"
queue lost
queue patient --retries 1
ok 'both run' until_ok is patient running
ok 'both run' until_ok is lost running
ok 'it says who it is' until_ok test -s "$(of lost)/alive.json" -a -s "$(of patient)/alive.json"
pids=$(pid_in "$(of lost)/alive.json" "$(of patient)/alive.json")
kill -STOP "$(cat c/head/pid)" # it does not see them die
kill -9 $pids
kill_head
for p in $pids; do until_ok gone "$p"; done
start_head "$port"
ends_as lost failed
run 0 raywf job status lost
has 'vanished without a word'
touch "$go"
ends_as patient succeeded
ok 'it ran once to its end' test "$(grep -c patient order)" = 1

# --- a head that is told to end: jobs go on with the next one ---
rm -f "$go"
queue interrupted
ok 'it runs' until_ok is interrupted running
ok 'it says who it is' until_ok test -s "$(of interrupted)/alive.json"
pid=$(pid_in "$(of interrupted)/alive.json")
run 0 raywf shutdown
ok 'nothing stays behind' until_ok gone "$pid"
start_head "$port"
start_node
touch "$go"
ends_as interrupted succeeded
ok 'no retry was needed' test "$(grep -c interrupted order)" = 1

# --- a schedule ---
cat >q/tick.yaml <<'Y'
recipe: raywf/v1
tasks: {a: {run: "echo tick >>$COUNT"}}
Y
run 0 raywf job submit q/tick.yaml --schedule '* * * * * *' --env COUNT="$tmp/ticks" -q
tick=$out
ok 'it comes again' until_ok has_lines ticks 2
ok 'it is scheduled' is "$tick" scheduled
run 2 raywf job submit q/tick.yaml --needs "$tick"
says 'is a schedule'
run 0 raywf job stop "$tick"
ok 'and ends' is "$tick" stopped
run 0 raywf job list --format json
has "\"parent\":\"$tick\""
fits list

# --- all is gone ---
done_with()
{
    raywf job list --format json | tr '{' '\n' | sed -n 's/.*"job":"\([^"]*\)".*/\1/p' >ids
    while read -r id; do raywf job delete "$id" >/dev/null 2>&1; done <ids
    [ ! -s ids ]
}
ok 'all can be deleted' until_ok done_with
ok 'no folder stays' until_ok sh -c '! ls c/head/jobs | grep "^2"'
ok 'no bundle stays' until_ok sh -c '[ -z "$(ls c/head/jobs/bundles)" ]'
finish
