#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# all.sh BUILDDIR [STAGE...]: all tests, stage by stage, as ./bootstrap check runs them. Each
# stage has its log in BUILDDIR/logs; here is one line for each, what failed, and a last line
# with the sum. Builds of other kinds are made beside BUILDDIR.
#
#   test      unit and end-to-end tests of the normal build
#   fault     killed runs, full disks, failing calls, hostile input, several runs at once
#   asan      all tests again, with the address and undefined-behaviour sanitizers
#   tsan      tests of what has threads, with the thread sanitizer
#   valgrind  check and plan of every recipe
#   fuzz      each fuzzer for RAYWF_FUZZ_SECONDS (60)
#   dist      make distcheck with the first layers' end-to-end tests, and the archive holds every file
# RAYWF_CHECK_UNTIL (seconds since 1970): a stage that cannot be over by then is skipped, with a word.
set -u
stages='test fault asan tsan valgrind fuzz dist'
# Seconds that each takes on two slow processors.
declare -A takes=([test]=500 [fault]=400 [asan]=900 [tsan]=350 [valgrind]=90 [fuzz]=300 [dist]=400)

build=$(cd "$1" && pwd)
shift
top=$(cd "$(dirname "$0")/.." && pwd)
jobs=${JOBS:-$(nproc)}
logs=$build/logs
mkdir -p "$logs"
all_passed=0 all_failed=0 all_skipped=0

# Configures BUILDDIR-KIND with options (the compiler is one, too) and makes all of it, or $target.
# What needs no CUDA module is built without: that is a quarter of the whole work.
build_kind()
{
    local dir=$build-$1
    shift
    mkdir -p "$dir" && cd "$dir" || return 1
    if [ ! -f Makefile ] || [ "$*" != "$(cat .options 2>/dev/null)" ]; then
        "$top/configure" -q "$@" && printf '%s' "$*" >.options || return 1
    fi
    make -s -j"$jobs" ${target:-all}
}

duckdb_option()
{
    sed -n 's/^duckdb_dir = //p' "$build/Makefile" | {
        read -r dir
        if [ -f "$dir/duckdb.h" ]; then echo "--with-duckdb=$dir"; else echo --with-duckdb=no; fi
    }
}

# make_check DIR ARGUMENT...: its results go into passed, failed and skipped.
make_check()
{
    local dir=$1 rc=0
    shift
    find "$dir" -name '*.trs' -delete
    make -C "$dir" -k -j"$jobs" "$@" || rc=$?
    read -r passed failed skipped <<<"$("$top/tests/count.sh" "$dir")"
    [ $rc = 0 ] || [ "$failed" != 0 ] || failed=1
}

# The names of tests that did not pass, which of their checks failed, and the ends of their logs.
# The first two are kept, too: the end of all output names them, however much of the rest is cut.
show_failures()
{
    local trs name failed_checks='^FAILED: |:[FE]:|ERROR: |WARNING: Thread'
    for trs in $(find "$1" -name '*.trs' -exec grep -lE '^:test-result: *(X?FAIL|XPASS|ERROR)' {} +); do
        name=$(basename "${trs%.trs}")
        echo "--- $name:"
        {
            grep -E "$failed_checks" "${trs%.trs}.log" || tail -n 1 "${trs%.trs}.log"
        } | head -n 5 | sed "s|^|$stage: $name: |" | tee -a "$logs/failures"
        grep -E -A 8 "$failed_checks" "${trs%.trs}.log" | head -n 40
        echo "..."
        tail -n 20 "${trs%.trs}.log"
    done
}

stage_test()
{
    make_check "$build" check
    show_failures "$build"
}

stage_fault()
{
    make_check "$build" check-fault
    show_failures "$build"
}

stage_asan()
{
    build_kind asan --with-cuda=no --enable-sanitizer=address,undefined "$(duckdb_option)" || { failed=1; return; }
    make_check "$build-asan" check
    show_failures "$build-asan"
    local p=$passed f=$failed s=$skipped
    make_check "$build-asan" check TESTS=tests/fault/hostile.sh
    show_failures "$build-asan"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

stage_tsan()
{
    local tests report fixed=env
    build_kind tsan --with-cuda=no --enable-sanitizer=thread "$(duckdb_option)" || { failed=1; return; }
    # Clients of the store that are killed are processes: no threads, and slow here.
    tests=$(sed -n 's/^check_PROGRAMS *+= *//p' "$top/tests/unit/run.mk" \
        "$top/tests/unit"/{wire,store,peer,native,node,step,bridge}.mk \
        "$top/tests/unit"/{head,job,cluster,train_loop,llm_api}.mk | tr ' ' '\n' |
        grep -v check_store_kill | sort -u | tr '\n' ' ')
    # Where addresses are too random for the sanitizer's map of memory, it ends at once.
    setarch -R true 2>/dev/null && fixed='setarch -R'
    TSAN_OPTIONS="halt_on_error=1 suppressions=$top/tests/tsan.supp" \
        make_check "$build-tsan" check check_PROGRAMS="$tests" TESTS="$tests" LOG_COMPILER="$fixed"
    show_failures "$build-tsan"
    # Nodes that share objects and calls. What the sanitizer says of daemons is in files, for
    # their own output goes with the test's folder; a worker that ends so may just be replaced.
    local p=$passed f=$failed s=$skipped
    rm -f "$logs"/tsan.report.*
    TSAN_OPTIONS="halt_on_error=1 suppressions=$top/tests/tsan.supp log_path=$logs/tsan.report" \
        make_check "$build-tsan" check check_PROGRAMS= SH_LOG_COMPILER="$fixed bash" \
        TESTS='tests/t/t2055-remote.sh tests/t/t2065-values.sh'
    show_failures "$build-tsan"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    for report in "$logs"/tsan.report.*; do
        [ -f "$report" ] || continue
        failed=$((failed + 1))
        echo "--- $report:"
        cat "$report"
    done
}

# Leaks count too: what these commands take they give back. The machine plays one with a GPU, so
# that all recipes fit.
stage_valgrind()
{
    local recipe command out
    if ! command -v valgrind >/dev/null; then
        echo "no valgrind"
        skipped=1
        return
    fi
    for recipe in "$top"/recipes/*.yaml; do
        for command in check plan; do
            out=$logs/valgrind.$command.$(basename "$recipe").txt
            if RAYWF_FAKE_GPUS=1x80GiB valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect \
                --errors-for-leak-kinds=definite,indirect --log-file="$out" \
                "$build/raywf" $command "$recipe" >/dev/null 2>&1 && [ ! -s "$out" ]; then
                passed=$((passed + 1))
            else
                failed=$((failed + 1))
                echo "--- valgrind raywf $command $recipe:"
                head -n 40 "$out"
            fi
        done
    done
}

stage_fuzz()
{
    local line
    if ! command -v clang >/dev/null; then
        echo "no clang"
        skipped=1
        return
    fi
    target=fuzzers build_kind fuzz CC=clang --with-cuda=no --enable-fuzzers "$(duckdb_option)" ||
        { failed=1; return; }
    make -s -C "$build-fuzz" check-fuzz FUZZ_SECONDS="${RAYWF_FUZZ_SECONDS:-60}" >"$logs/fuzz.out" 2>&1
    passed=$(grep -c '^PASS:' "$logs/fuzz.out")
    failed=$(grep -c '^FAIL:' "$logs/fuzz.out")
    [ $((passed + failed)) != 0 ] || failed=1
    cat "$logs/fuzz.out"
}

# Every file of the tree is in the archive.
archive_is_whole()
{
    local archive
    make -C "$build" dist || return 1
    archive=$(find "$build" -maxdepth 1 -name 'raywf-*.tar.xz' | sort | tail -n 1)
    (cd "$top" && git -c safe.directory='*' ls-files) | grep -v '^\.gitignore$' | sort >"$logs/dist.want"
    tar -tf "$archive" | sed 's|^[^/]*/||' | sort >"$logs/dist.got"
    comm -23 "$logs/dist.want" "$logs/dist.got" >"$logs/dist.missing"
    [ -s "$logs/dist.missing" ] || return 0
    echo "--- not in the archive:"
    cat "$logs/dist.missing"
    return 1
}

# distcheck builds from the archive, in a tree that cannot be written, and runs commands, recipes and
# outputs once more: what is missing or in the wrong place shows there, and all else was found by now.
stage_dist()
{
    local dir tests
    tests=$(cd "$top" && echo tests/t/t[01]*.sh)
    if [ ! -e "$top/.git" ] || ! command -v git >/dev/null; then
        skipped=1
    elif archive_is_whole; then
        passed=1
    else
        failed=1
        return
    fi
    if make -C "$build" distcheck check_PROGRAMS= TESTS="$tests"; then
        passed=$((passed + 1))
    else
        failed=1
        for dir in "$build"/raywf-*/_build; do
            show_failures "$dir"
        done
        chmod -R u+w "$build"/raywf-*/ 2>/dev/null
    fi
}

run_stage()
{
    local began=$SECONDS left=$((${RAYWF_CHECK_UNTIL:-$(date +%s) + 86400} - $(date +%s)))
    passed=0 failed=0 skipped=0
    if [ "$left" -lt "${takes[$1]}" ]; then
        echo "stage $1: skipped, it may take ${takes[$1]} s and there are $left left"
        all_skipped=$((all_skipped + 1))
        return
    fi
    # In this shell, for its counts; the log gets everything.
    "stage_$1" >"$logs/$1.log" 2>&1
    cd "$top" || exit 1
    echo "stage $1: $passed passed, $failed failed, $skipped skipped ($((SECONDS - began)) s, log: $logs/$1.log)"
    if [ "$failed" != 0 ]; then
        if grep -q '^--- ' "$logs/$1.log"; then
            sed -n '/^--- /,$p' "$logs/$1.log" | head -n 200
        else
            grep -iE -B2 -A2 'error|undefined|cannot|warning' "$logs/$1.log" | head -n 40
        fi
    fi
    all_passed=$((all_passed + passed)) all_failed=$((all_failed + failed))
    all_skipped=$((all_skipped + skipped))
}

[ $# != 0 ] || set -- $stages
for stage; do
    case " $stages " in
    *" $stage "*) ;;
    *) echo "no stage '$stage'; there are: $stages" >&2; exit 2 ;;
    esac
done
rm -f "$logs/failures"
for stage; do
    run_stage "$stage"
done
[ ! -s "$logs/failures" ] || cat "$logs/failures"
echo "$all_passed passed, $all_failed failed, $all_skipped skipped"
[ $all_failed = 0 ]
