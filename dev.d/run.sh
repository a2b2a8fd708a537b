# run.sh - a master with a tunnel through it, to play with.
# shellcheck shell=bash

# free_port <default>: the default, or a free one when it is taken.
free_port() { "$PYTHON" dev.d/free_port.py "$1"; }

# until_ok <seconds> <command ...>: tries it again and again, as long as all that was started runs.
until_ok() {
    local end=$((SECONDS + $1)) started
    shift
    started=$(jobs -p | wc -l)
    while ! "$@"; do
        [ $SECONDS -lt $end ] && [ "$(jobs -rp | wc -l)" = "$started" ] || return 1
        sleep 0.1
    done
}

# got_page <port> <file>: the page of the demonstration comes from there.
got_page() { curl -fsS --noproxy '*' --max-time 5 "http://127.0.0.1:$1/" 2>"$2" | grep -q "came through"; }

# is_ready <address of the API's root>: the master is up, and the data plane holds what it wants.
is_ready() { curl -fsS --noproxy '*' --max-time 5 -o "$RUN/ready" "${1%/api/v1}/readyz" 2>"$RUN/curl.log"; }

# api <method> <path> [body]: one request as a script would send it; the key is not in its arguments.
api() {
    curl -sS --noproxy '*' --max-time 10 -H @"$RUN/header" -X "$1" ${3+-d "$3"} "$API$2"
}

# The master ends the data plane that it started; what it manages is in the store and comes back.
stop_demo() {
    local pids
    trap '' INT TERM HUP
    mapfile -t pids < <(jobs -p)
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
    wait
    rm -f "$RUN/header"
    [ -z "${DEMO-}" ] || rm -rf "$DEMO"
}

# start_master: on 127.0.0.1:9090, or a free port, with its state below build/.
start_master() {
    local port
    port=$(free_port 9090)
    API=http://127.0.0.1:$port/api/v1
    build/bin/nodepass "master://127.0.0.1:$port" 2>&1 </dev/null >"$LOGS/run-master.log" &
    until_ok 20 is_ready "$API" || { tail -n 30 "$LOGS/run-master.log"; die "the master does not become ready"; }
    KEY=$(build/bin/nodepass ctl key) || die "the master has no key"
    (umask 077 && echo "X-API-Key: $KEY" >"$RUN/header")
}

# demonstrate: a web page behind a server and a client that are made through the API, and removed again.
demonstrate() {
    local web tunnel visit key id ids=()
    echo "<h1>This page came through a NodePass tunnel</h1>" >"$DEMO/index.html"
    web=$(free_port 8000) tunnel=$(free_port 10101) visit=$(free_port 8080)
    "$PYTHON" -m http.server --bind 127.0.0.1 --directory "$DEMO" "$web" >"$DEMO/web.log" 2>&1 </dev/null &
    until_ok 20 got_page "$web" "$DEMO/curl.log" || { cat "$DEMO/web.log"; die "the web page cannot be served"; }
    key=$(build/bin/nodepass key) || die "no key"
    for url in "server://$key@127.0.0.1:$tunnel/127.0.0.1:$visit?tls=1&mode=1" \
        "client://$key@127.0.0.1:$tunnel/127.0.0.1:$web?mode=2"; do
        id=$(api POST /instances "{\"url\":\"$url\",\"alias\":\"demo-${url%%:*}\"}" | sed -n 's/^{"id":"\([0-9a-f]*\)".*/\1/p')
        [ -n "$id" ] || die "the master did not take ${url%%:*}://"
        ids+=("$id")
    done
    until_ok 20 got_page "$visit" "$DEMO/curl.log" || {
        cat "$DEMO/curl.log"
        build/bin/nodepass ctl logs
        die "the page did not come through the tunnel"
    }
    [ "$(api GET /instances | grep -o '"status":"running"' | wc -l)" -ge 2 ] || die "the instances do not run"
    build/bin/nodepass ctl rm "${ids[@]}" >/dev/null || die "the instances were not removed"
    WEB=$web TUNNEL=$tunnel VISIT=$visit
}

cmd_run() {
    local once=0
    case ${1-} in
    "") ;;
    --once) once=1 ;;
    *) die "run: unknown option '$1'" ;;
    esac
    # shellcheck disable=SC2086
    need $NEED_BUILD $NEED_RUN
    # shellcheck disable=SC2086
    build_or_die run build_own $PROGRAMS

    # The check has a folder of its own: a master that runs for somebody keeps running. Sockets want short names.
    if [ "$once" = 1 ]; then RUN=$(mktemp -d) || die "no folder for temporary files"; else RUN=$PWD/build/run; fi
    [ ${#RUN} -lt 80 ] || RUN=$(mktemp -d)
    mkdir -p -m 700 "$RUN/state" "$RUN/run"
    export NP_STATE_DIR=$RUN/state NP_RUN_DIR=$RUN/run NP_LOG_COLOR=0
    unset NP_API NP_API_KEY NP_DATAPLANE
    DEMO=$(mktemp -d) || die "no folder for temporary files"
    trap stop_demo EXIT
    trap 'exit 0' INT TERM HUP
    start_master
    demonstrate
    cat <<END

A master runs, with its data plane. A page came through a tunnel that it was told to make by its API.

    API            $API
    documentation  $API/docs
    key            $KEY
    state          $NP_STATE_DIR        log: $LOGS/run-master.log

Make the tunnel yourself, in another terminal (the page is at http://127.0.0.1:$WEB/):

    cd $PWD
    export PATH=\$PWD/build/bin:\$PATH NP_API=$API NP_API_KEY=$KEY

    curl \$NP_API/instances -H "X-API-Key: \$NP_API_KEY" -d '{"url":"server://secret@127.0.0.1:$TUNNEL/127.0.0.1:$VISIT?tls=1&mode=1"}'
    nodepass ctl add "client://secret@127.0.0.1:$TUNNEL/127.0.0.1:$WEB?mode=2" --alias web
    nodepass ctl ls
    curl http://127.0.0.1:$VISIT/

    nodepass ctl logs -f
    curl -N \$NP_API/events -H "X-API-Key: \$NP_API_KEY"
    nodepass ctl rm all

END
    if [ "$once" = 1 ]; then
        RUN_ONCE=$RUN
        stop_demo
        trap - EXIT
        rm -rf "$RUN_ONCE"
        return 0
    fi
    echo "Ctrl-C stops the master, its data plane and the web page. What is in the list comes back with ./dev run."
    wait -n
    die "the master or the web page ended by itself, exit status $?; see $LOGS/run-master.log"
}
