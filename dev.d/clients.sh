# clients.sh - the crash test, and clients that others wrote.
# shellcheck shell=bash

CLIENTS_PYTHON="pynng==0.9.0 schemathesis==4.32.5"

cmd_crash_test() {
    # shellcheck disable=SC2086
    need $NEED_BUILD $NEED_E2E
    # shellcheck disable=SC2086
    build_or_die crash build_own $PROGRAMS
    NODEPASS_BIN=$PWD/build/bin in_namespace --as-me "$PYTHON" tests/crash/crash.py "$@"
}

cmd_clients() {
    local log=$LOGS/clients.log figures=$PWD/$LOGS/clients.figures status=0
    # shellcheck disable=SC2086
    need $NEED_BUILD $NEED_CLIENTS
    # shellcheck disable=SC2086
    build_or_die clients build_own $PROGRAMS
    [ -x build/clients/bin/pip ] || "$PYTHON" -m venv build/clients || die "no folder for Python packages"
    # shellcheck disable=SC2086
    build/clients/bin/pip install -q $CLIENTS_PYTHON >"$log" 2>&1 || { tail -n 20 "$log"; die "pip failed"; }
    rm -f "$figures"
    NODEPASS_BIN=$PWD/build/bin NP_CLIENTS_FULL=1 NP_FIGURES=$figures NP_CLIENTS_PICTURE=$PWD/$LOGS/clients-docs.png \
        in_namespace --as-me "$PYTHON" -m pytest tests/e2e/test_clients.py -p no:cacheprovider -p no:xdist >"$log" 2>&1 </dev/null || status=1
    [ "$status" = 0 ] || tail -n 80 "$log"
    [ ! -f "$figures" ] || column -t -s "$(printf '\t')" "$figures" 2>/dev/null || cat "$figures"
    echo "picture of the docs page: $LOGS/clients-docs.png; log: $log"
    tail -n 1 "$log"
    return $status
}
