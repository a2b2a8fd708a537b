# test.sh - the parts of ./dev test.
# shellcheck shell=bash

test_lint() {
    check "format" check_format
    check "include rules" check_includes
    check "tests that are named" check_named_tests
}

# gcc_build: once in a run, whichever part needs it first.
gcc_build() {
    [ -z "${GCC_BUILT-}" ] || return 0
    GCC_BUILT=1
    check "gcc build" build_own
}

test_build() {
    gcc_build
    check "clang build" build_tree build-clang-14 clang-14 --
}

test_unit() {
    gcc_build
    check "tables of README and manual" check_tables
    run_unit "unit tests" build
}

test_fuzz() { check "fuzz build" build_fuzzers && run_fuzzers; }

# What is installed runs from where it lies: the data plane is found, reads the URL and names the missing file.
check_install() {
    local prefix status=0
    prefix=$(mktemp -d) || return
    cmake --install build --prefix "$prefix" >/dev/null && "$prefix/bin/nodepass" --version &&
        "$prefix/bin/nodepass" "server://127.0.0.1:10101/:8080?tls=2&crt=$prefix/none&key=$prefix/none" >"$prefix/out" 2>&1
    status=$?
    cat "$prefix/out"
    [ "$status" = 2 ] && grep -qF "$prefix/none" "$prefix/out" && [ -f "$prefix/share/man/man1/nodepass-ctl.1" ] &&
        [ -f "$prefix/lib/systemd/system/nodepass-controlplane.service" ] &&
        "$prefix/bin/nodepass" ctl help >"$prefix/out" && grep -q 'nodepass ctl' "$prefix/out" &&
        "$prefix/libexec/nodepass/nodepass-controlplane" --version
    status=$?
    rm -rf "$prefix"
    return $status
}

test_e2e() {
    gcc_build
    check "installation" check_install
    check "demonstration" ./dev run --once
    NP_TEST_SLACK=2 run_e2e "end to end" build -m "not slow" # the machine may be slow, or busy
}

test_slow() {
    gcc_build
    NP_TEST_SLACK=2 E2E_SECONDS=7200 run_e2e "end to end, slow" build -m slow
}

test_asan() {
    check "build for address and UB" build_tree build-address gcc -DNP_SANITIZE=address -- || return
    export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
    export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
    run_unit "unit tests, address and UB" build-address
    NP_TEST_SLACK=3 run_e2e "end to end, address and UB" build-address -m "sanitize and not slow"
}

test_tsan() {
    local FIXED=() threaded # the unit tests that have threads
    mapfile -t threaded < <(grep -lE 'pthread|on_worker|registry_bed' -r tests/unit --include='test_*.c' | xargs -n 1 basename -s .c)
    check "build for thread" build_tree build-thread gcc -DNP_SANITIZE=thread -- $PROGRAMS \
        "${threaded[@]}" || return
    # gcc 12's thread sanitizer cannot place its shadow when addresses are randomised by more than 28 bits.
    if [ "$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 28)" -gt 28 ] && setarch -R true 2>/dev/null; then
        FIXED=(setarch -R)
    fi
    export TSAN_OPTIONS=second_deadlock_stack=1
    run_unit "unit tests, thread" build-thread -R "^($(IFS='|' && echo "${threaded[*]}"))\$"
    export TSAN_OPTIONS="$TSAN_OPTIONS suppressions=$PWD/tests/tsan-suppressions"
    NP_TEST_SLACK=3 run_e2e "end to end, thread" build-thread -m "sanitize and not slow"
}

cmd_test() {
    local part parts=("$@")
    [ $# -gt 0 ] || parts=(lint build unit fuzz e2e asan tsan)
    for part in "${parts[@]}"; do
        case $part in
        lint | build | unit | fuzz | e2e | asan | tsan | slow) ;;
        *) die "test: unknown part '$part'; there are: lint build unit fuzz e2e asan tsan slow" ;;
        esac
    done
    # shellcheck disable=SC2086
    need $NEED_BUILD $NEED_CLANG $NEED_LINT $NEED_E2E
    mkdir -p "$LOGS"
    trap 'kill $(jobs -p) 2>/dev/null' EXIT
    trap 'exit 130' INT TERM HUP
    SECONDS=0
    for part in "${parts[@]}"; do
        "test_$part"
    done
    [ $((PASSED + FAILED)) -gt 0 ] || FAILED=1
    echo "logs: $LOGS; skipped: $SKIPPED; time: $((SECONDS / 60)) min $((SECONDS % 60)) s"
    echo "$PASSED passed, $FAILED failed"
    [ "$FAILED" = 0 ]
}
