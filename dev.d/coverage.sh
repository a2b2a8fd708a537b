# coverage.sh - lines that the tests reach.
# shellcheck shell=bash

# report_coverage: gcovr's lines by folder, and by file below the goals.
report_coverage() {
    gcovr -r . --object-directory build-coverage -j "$JOBS" --exclude-throw-branches -f common/ -f dataplane/ \
        -f controlplane/ -f nodepass/ -f ctl/ --json-summary build-coverage/summary.json \
        --txt build-coverage/coverage.txt >build-coverage/gcovr.log 2>&1 || { tail -n 20 build-coverage/gcovr.log; return 1; }
    "$PYTHON" dev.d/coverage.py build-coverage/summary.json
}

cmd_coverage() {
    local only_unit=0
    case ${1-} in
    "") ;;
    --unit) only_unit=1 ;;
    *) die "coverage: unknown option '$1'" ;;
    esac
    # shellcheck disable=SC2086
    need $NEED_BUILD $NEED_E2E $NEED_COVERAGE
    build_or_die coverage build_tree build-coverage gcc -DNP_COVERAGE=ON -DNP_SANITIZE= --
    find build-coverage -name '*.gcda' -delete
    run_unit "unit tests, coverage" build-coverage
    echo "cells of the state machines that the table tests walk through:"
    sed -nE 's/^[0-9]+: cells of /  /p' "$LOGS/unit-tests--coverage.log" | sort
    [ "$only_unit" = 1 ] || NP_TEST_SLACK=3 E2E_SECONDS=3600 run_e2e "end to end, coverage" build-coverage -m "not slow"
    report_coverage && [ "$FAILED" = 0 ]
}
