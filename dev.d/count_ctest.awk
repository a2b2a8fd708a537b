# ctest's verbose output as "passed failed skipped" of cmocka's tests; a program that fails without a failed
# test of its own (a crash, a sanitizer's report) and one that is no cmocka program count as one.
{ id = $1; sub(/:.*/, "", id) }
/^[0-9]+: \[ RUN / { run[id]++ }
/^[0-9]+: \[ +OK \]/ { ok[id]++ }
/^[0-9]+: \[ +SKIPPED \]/ { skip[id]++ }
/^ *[0-9]+\/[0-9]+ Test +#[0-9]+:/ {
    match($0, /#[0-9]+/)
    id = substr($0, RSTART + 1, RLENGTH - 1)
    seen[id] = 1
    bad[id] = ($0 !~ / Passed /)
}
END {
    for (id in seen) {
        f = run[id] - ok[id] - skip[id]
        if (f < 0) f = 0
        if (bad[id] && f == 0) f = 1
        if (!run[id] && !bad[id]) p++
        p += ok[id]; failed += f; s += skip[id]
    }
    print p + 0, failed + 0, s + 0
}
