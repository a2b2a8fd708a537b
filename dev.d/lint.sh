# lint.sh - format and include rules, and reports to read.
# shellcheck shell=bash

c_files() { find . -name '*.[ch]' -type f -not -path './build*' | sed 's|^\./||' | sort; }

check_format() {
    local found
    found=$(c_files | xargs clang-format-14 --dry-run -Werror 2>&1) && return 0
    grep -E ': (error|warning): ' <<<"$found" | cut -d: -f1,2 | sort -u
    echo "./dev format mends it"
    return 1
}

check_includes() { "$PYTHON" tests/lint/includes.py; }
check_named_tests() { "$PYTHON" tests/lint/named_tests.py; }
check_tables() { "$PYTHON" tests/lint/tables.py build/bin/nodepass; }

cmd_format() {
    # shellcheck disable=SC2086
    need $NEED_LINT
    c_files | xargs clang-format-14 -i
}

report_sizes() {
    echo "files over 500 lines:"
    c_files | xargs wc -l | awk '$2 != "total" && $1 > 500 { print "  " $2 ": " $1 }'
    echo "functions over 60 lines, or with a complexity over 15 (complexity, lines, place):"
    c_files | grep '\.c$' | xargs pmccabe 2>/dev/null |
        awk '$1 > 15 || $5 > 60 { print "  " $1, $5, $6, $7 }' | sort -rn
}

cmd_lint() {
    local bad=0
    # shellcheck disable=SC2086
    need $NEED_BUILD $NEED_CLANG $NEED_LINT $NEED_REPORT
    check_includes || bad=1
    check_format || bad=1
    report_sizes
    echo "cppcheck:"
    cppcheck --quiet --enable=warning,performance,portability --inline-suppr --std=c11 -j "$JOBS" \
        '-DDL_FOREACH(h,e)=for(;;)' '-DDL_FOREACH_SAFE(h,e,t)=for(;;)' '-DLL_FOREACH(h,e)=for(;;)' \
        '-DLL_FOREACH_SAFE(h,e,t)=for(;;)' '-DHASH_ITER(hh,h,e,t)=for(;;)' -Icommon -Idataplane -Icontrolplane -D_GNU_SOURCE -DNP_VERSION='"0"' -DNP_LIBEXEC_DIR='""' \
        --suppress=missingIncludeSystem --suppress=preprocessorErrorDirective common dataplane controlplane nodepass ctl 2>&1 | sed 's/^/  /'
    echo "clang-tidy:"
    build_tree build-clang-14 clang-14 -- >/dev/null || echo "  the build failed, see ./dev build --compiler clang-14"
    c_files | grep -E '^(common|dataplane|nodepass|controlplane|ctl)/.*\.c$' |
        xargs -P "$JOBS" -n 4 clang-tidy-14 -p build-clang-14 --quiet 2>/dev/null |
        sed -nE "s|^$PWD/||; /: (warning|error): /s/^/  /p" | sort -u
    return $bad
}
