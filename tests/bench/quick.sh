#!/usr/bin/env bash
# quick.sh - how much slower than direct, and how it compares with socat: throughput of one and of eight
# streams (iperf3), new connections a second (wrk, one request each). Called by ./dev bench.
#
# Everything runs on this one machine and shares its cores: the numbers compare ways, they say nothing about a
# network. NODEPASS_BIN: folder of the programs. BENCH_SECONDS: length of one measurement, 5 by default.
set -u -o pipefail
cd "$(dirname "$0")" || exit 1

SECONDS_EACH=${BENCH_SECONDS:-5}
NODEPASS=${NODEPASS_BIN:?names the folder of the programs}/nodepass
PYTHON=/usr/bin/python3
WORK=$(mktemp -d) || exit 1
PIDS=()
WAY=()

stop() {
    [ ${#PIDS[@]} = 0 ] || kill "${PIDS[@]}" 2>/dev/null
    wait
    rm -rf "$WORK"
}
trap stop EXIT
trap 'exit 130' INT TERM

# ports <n>: free ports of 127.0.0.1.
ports() {
    "$PYTHON" -c '
import socket, sys
s = [socket.socket() for _ in range(int(sys.argv[1]))]
[x.bind(("127.0.0.1", 0)) for x in s]
print(*[x.getsockname()[1] for x in s])' "$1"
}

# start <command ...>: in the background until the end.
start() {
    "$@" >/dev/null 2>&1 </dev/null &
    PIDS+=($!)
}

# way <command ...>: the same for a process of the way that is being measured.
way() {
    "$@" >>"$WORK/log" 2>&1 </dev/null &
    WAY+=($!)
}

end_way() {
    [ ${#WAY[@]} = 0 ] || kill "${WAY[@]}" 2>/dev/null
    for pid in "${WAY[@]}"; do wait "$pid" 2>/dev/null; done
    WAY=()
    : >"$WORK/log"
}

# until_page <port>: a request to it is answered by the web server behind it.
until_page() {
    local i
    for ((i = 0; i < 100; i++)); do
        [ "$(curl -s --max-time 5 "http://127.0.0.1:$1/")" = ok ] && return 0
        sleep 0.1
    done
    echo "bench: nothing answers on port $1; the log:" >&2
    tail -n 20 "$WORK/log" >&2
    return 1
}

# gbits <port> <streams>
gbits() {
    iperf3 --client 127.0.0.1 --port "$1" --parallel "$2" --time "$SECONDS_EACH" --omit 1 --json 2>/dev/null |
        "$PYTHON" -c '
import json, sys
try:
    print("%.2f" % (json.load(sys.stdin)["end"]["sum_received"]["bits_per_second"] / 1e9))
except (KeyError, ValueError):
    print("-")'
}

# connections <port>: new connections a second, "-" when requests failed.
connections() {
    wrk --threads 1 --connections 32 --duration "${SECONDS_EACH}s" --header "Connection: close" \
        "http://127.0.0.1:$1/" 2>/dev/null |
        awk '/Requests\/sec/ { rate = $2 } /Non-2xx|connect [1-9]|timeout [1-9]/ { bad = 1 }
             END { if (rate == "" || bad) print "-"; else printf "%d\n", rate }'
}

# ratio <value> <of>
ratio() {
    "$PYTHON" -c '
import sys
a, b = sys.argv[1:]
print("-" if "-" in (a, b) or float(b) == 0 else "%.2f" % (float(a) / float(b)))' "$1" "$2"
}

# measure <name> <port to iperf3> <port to the web server>
measure() {
    local one eight conn
    until_page "$3" || return 1
    one=$(gbits "$2" 1) eight=$(gbits "$2" 8) conn=$(connections "$3")
    [ -n "${BASE_ONE-}" ] || BASE_ONE=$one BASE_EIGHT=$eight BASE_CONN=$conn
    printf '%-22s %8s %6s  %8s %6s  %8s %6s\n' "$1" "$one" "$(ratio "$one" "$BASE_ONE")" \
        "$eight" "$(ratio "$eight" "$BASE_EIGHT")" "$conn" "$(ratio "$conn" "$BASE_CONN")"
}

# tunnel <query of the server>: a reverse tunnel to each of the two targets.
tunnel() {
    local target visit tunnel key
    key=$("$NODEPASS" key)
    set -- "$1" "$IPERF $A $T1" "$WEB $B $T2"
    for pair in "$2" "$3"; do
        read -r target visit tunnel <<<"$pair"
        way "$NODEPASS" "server://$key@127.0.0.1:$tunnel/127.0.0.1:$visit?mode=1&log=warn&$1"
        way "$NODEPASS" "client://$key@127.0.0.1:$tunnel/127.0.0.1:$target?mode=2&log=warn"
    done
}

gcc -O2 -D_GNU_SOURCE httpd.c -o "$WORK/httpd" || exit 1
read -r IPERF WEB A B T1 T2 < <(ports 6)
start iperf3 --server --bind 127.0.0.1 --port "$IPERF"
start "$WORK/httpd" "$WEB"

echo "$(uname -sr), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), $SECONDS_EACH s each, all on one machine"
printf '%-22s %8s %6s  %8s %6s  %8s %6s\n' "" "1 stream" "of" "8 streams" "of" "new conn" "of"
printf '%-22s %8s %6s  %8s %6s  %8s %6s\n' "way" "Gbit/s" "direct" "Gbit/s" "direct" "a second" "direct"
failed=0
measure direct "$IPERF" "$WEB" || exit 1

way socat "TCP-LISTEN:$A,bind=127.0.0.1,fork,reuseaddr,backlog=1024" "TCP:127.0.0.1:$IPERF"
way socat "TCP-LISTEN:$B,bind=127.0.0.1,fork,reuseaddr,backlog=1024" "TCP:127.0.0.1:$WEB"
measure socat "$A" "$B" || failed=1
end_way

way "$NODEPASS" "client://127.0.0.1:$A/127.0.0.1:$IPERF?mode=1&log=warn"
way "$NODEPASS" "client://127.0.0.1:$B/127.0.0.1:$WEB?mode=1&log=warn"
measure "single-end" "$A" "$B" || failed=1
end_way

for tls in 0 1; do
    tunnel "tls=$tls"
    measure "tunnel, tls=$tls" "$A" "$B" || failed=1
    end_way
done
exit $failed
