# count.sh - checks, unit tests and end to end tests, counted together.
# shellcheck shell=bash

PASSED=0
FAILED=0
SKIPPED=0
FIXED=() # what programs of tests are started through, where they need addresses that are not randomised

# count <name> <passed> <failed> <log>: adds up, and shows the end of the log when something failed.
count() {
    PASSED=$((PASSED + $2))
    FAILED=$((FAILED + $3))
    if [ "$3" -gt 0 ]; then
        printf -- '--- %s: %d failed; the end of %s:\n' "$1" "$3" "$4"
        tail -n "${5:-60}" "$4"
        printf -- '---\n'
    fi
    printf '%-32s %4d passed %3d failed  %4d s\n' "$1" "$2" "$3" $((SECONDS - STARTED))
}

# check <name> <command ...>: a check that counts as one.
check() {
    local name=$1 log=$LOGS/${1//[^A-Za-z0-9]/-}.log
    shift
    STARTED=$SECONDS
    if "$@" >"$log" 2>&1 </dev/null; then
        count "$name" 1 0 "$log"
    else
        count "$name" 0 1 "$log"
        return 1
    fi
}

# run_unit <name> <folder of the build> <ctest arguments ...>
run_unit() {
    local name=$1 dir=$2 log=$LOGS/${1//[^A-Za-z0-9]/-}.log status=0 p f s
    shift 2
    STARTED=$SECONDS
    "${FIXED[@]}" ctest --test-dir "$dir" -j 2 --verbose --no-tests=error "$@" >"$log" 2>&1 </dev/null || status=1
    read -r p f s < <(awk -f dev.d/count_ctest.awk "$log")
    [ "$status" = 0 ] || [ "$f" -gt 0 ] || f=1
    [ $((p + f)) -gt 0 ] || f=1
    SKIPPED=$((SKIPPED + s))
    grep -aE '^[0-9]+: \[  FAILED  \] [a-z]|: Failure!|error: |\*\*\*|ERROR: ' "$log" >"$log.failed"
    count "$name" "$p" "$f" "$log.failed"
}

# run_e2e <name> <folder of the build> <pytest arguments ...>
run_e2e() {
    local name=$1 bin=$PWD/$2/bin log=$LOGS/${1//[^A-Za-z0-9]/-}.log xml=$PWD/$LOGS/${1//[^A-Za-z0-9]/-}.xml status=0 p f s
    shift 2
    STARTED=$SECONDS
    rm -f "$xml"
    # In the foreground, so that Ctrl-C reaches it; twice as many at a time as cores, because tests mostly wait.
    NODEPASS_BIN=$bin timeout --foreground -s INT -k 30 "${E2E_SECONDS:-900}" "${FIXED[@]}" "$PYTHON" -m pytest tests/e2e \
        -n $((JOBS < 4 ? 2 * JOBS : 8)) -p no:cacheprovider \
        --junitxml="$xml" "$@" >"$log" 2>&1 </dev/null || status=$?
    read -r p f s < <("$PYTHON" dev.d/count_junit.py "$xml")
    [ "$status" = 0 ] || [ "$f" -gt 0 ] || f=1 # interrupted, a crash of pytest, nothing collected
    SKIPPED=$((SKIPPED + s))
    count "$name" "$p" "$f" "$log" 100
}
