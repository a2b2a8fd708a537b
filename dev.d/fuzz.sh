# fuzz.sh - fuzz targets: their build, and one run or all.
# shellcheck shell=bash

fuzz_targets() { find tests/fuzz -name 'fuzz_*.c' -printf '%f\n' | sed 's/\.c$//' | sort; }

build_fuzzers() {
    local targets
    mapfile -t targets < <(fuzz_targets)
    [ ${#targets[@]} -gt 0 ] || return 0
    build_tree build-fuzz clang-14 -DNP_FUZZ=ON -DNP_SANITIZE=address -- "${targets[@]}"
}

# fuzz_one <target> <seconds> <corpus that may grow> <log>
fuzz_one() {
    local name=$1 seconds=$2 corpus=$3 log=$4 seeds=tests/fuzz/corpus/${1#fuzz_}
    mkdir -p "$corpus" "$(dirname "$log")"
    [ ! -d "$seeds" ] || cp -rn "$seeds/." "$corpus/"
    "build-fuzz/fuzz/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$(dirname "$log")/$name-" "$corpus" >"$log" 2>&1 </dev/null
}

run_fuzzers() {
    local seconds=${NP_FUZZ_SECONDS:-30} scratch name p=0 f=0
    scratch=build-fuzz/run # from the seeds each time, so that a run depends on no earlier one
    rm -rf "$scratch"
    mkdir -p "$scratch"
    STARTED=$SECONDS
    for name in $(fuzz_targets); do
        while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n; done
        {
            fuzz_one "$name" "$seconds" "$scratch/$name" "$LOGS/$name.log"
            echo $? >"$scratch/$name.status"
        } &
    done
    wait
    for name in $(fuzz_targets); do
        if [ "$(cat "$scratch/$name.status")" = 0 ]; then
            p=$((p + 1))
        else
            f=$((f + 1))
            printf -- '--- %s failed; the end of %s:\n' "$name" "$LOGS/$name.log"
            tail -n 30 "$LOGS/$name.log"
        fi
    done
    [ $((p + f)) -gt 0 ] || return 0
    count "fuzz targets, $seconds s each" "$p" "$f" /dev/null
}

cmd_fuzz() {
    local wanted=${1:-all} seconds=${2:-60} name targets bad=0
    if [[ $wanted =~ ^[0-9]+$ ]]; then
        seconds=$wanted wanted=all
    fi
    [[ $seconds =~ ^[0-9]+$ ]] || die "fuzz: '$seconds' is no number of seconds"
    # shellcheck disable=SC2086
    need $NEED_BUILD $NEED_CLANG
    mapfile -t targets < <(fuzz_targets)
    if [ "$wanted" != all ]; then
        wanted=fuzz_${wanted#fuzz_}
        [[ " ${targets[*]} " == *" $wanted "* ]] || die "fuzz: no target '$wanted'; there are: ${targets[*]}"
        targets=("$wanted")
    fi
    build_fuzzers || return
    for name in "${targets[@]}"; do
        echo "dev: $name, $seconds s; log in build-fuzz/logs/$name.log"
        fuzz_one "$name" "$seconds" "build-fuzz/corpus/${name#fuzz_}" "build-fuzz/logs/$name.log" || bad=1
        tail -n 12 "build-fuzz/logs/$name.log"
    done
    return $bad
}
