# bench.sh - measurements.
# shellcheck shell=bash

CARGO_PEERS="rathole bore-cli"

# in_namespace [--as-me] <command ...>: on a loopback of its own, where the system lets us have one: nothing else uses
# its addresses or is counted. --as-me: not as root of a user namespace, where sshd does not run.
in_namespace() {
    local way ways=("unshare -n" "unshare -rn")
    if [ "$1" = --as-me ]; then
        ways=("unshare -n")
        shift
    fi
    for way in "${ways[@]}"; do
        $way true 2>/dev/null || continue
        # Connections that were closed a moment ago keep their ports: there are to be enough of them.
        # shellcheck disable=SC2016 # the inner shell expands it
        BENCH_NAMESPACE=1 PATH=$PATH:/usr/sbin:/sbin $way sh -c 'ip link set lo up || exit 1
            (echo 32768 65535 >/proc/sys/net/ipv4/ip_local_port_range
             echo 8192 >/proc/sys/net/core/somaxconn) 2>/dev/null
            exec "$@"' sh "$@"
        return
    done
    "$@"
}

# bench_peers NAMES: those of them (,NAME,NAME, or nothing for all) that cargo installs, once, below build/; a peer that
# cannot be built is left out.
bench_peers() {
    local name
    mkdir -p build/bench-peers "$LOGS"
    for name in $CARGO_PEERS; do
        case ${1:-,${name%-cli},} in *",${name%-cli},"*) ;; *) continue ;; esac
        [ ! -e "build/bench-peers/$name.tried" ] || continue
        if ! command -v cargo >/dev/null; then
            echo "dev: there is no cargo here: $name is left out"
            continue
        fi
        echo "dev: cargo install $name, once (log in $LOGS/bench-$name.log)"
        cargo install --quiet --root build/bench-peers "$name" >"$LOGS/bench-$name.log" 2>&1 </dev/null ||
            echo "dev: cargo could not build $name: it is left out"
        touch "build/bench-peers/$name.tried"
    done
}

cmd_bench() {
    # shellcheck disable=SC2086
    need $NEED_BUILD $NEED_BENCH
    case " $* " in *" --help "* | *" -h "*) exec "$PYTHON" -B tests/bench/bench.py --help ;; esac
    bench_peers "$(sed -nE 's/.* --peers[ =]([^ ]+) .*/,\1,/p' <<<" $* ")"
    # shellcheck disable=SC2086
    build_or_die bench build_own $PROGRAMS np-load np-httpd
    build_or_die bench-shared build_tree build-shared gcc -- nodepass nodepass-dataplane
    in_namespace "$PYTHON" -B tests/bench/bench.py "$@"
}

cmd_profile() {
    # shellcheck disable=SC2086
    need $NEED_BUILD $NEED_PROFILE
    [ $# -gt 0 ] || die "profile: of which case? ./dev bench --list shows them"
    # shellcheck disable=SC2086
    build_or_die bench build_own $PROGRAMS np-load np-httpd
    in_namespace "$PYTHON" -B tests/bench/profile.py "$@"
}
