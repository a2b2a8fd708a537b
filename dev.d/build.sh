# build.sh - folders of builds.
# shellcheck shell=bash

# build_tree <folder> <compiler> <cmake options ...> -- <targets ...>
build_tree() {
    local dir=$1 compiler=$2 options=()
    shift 2
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    if [ -f "$dir/CMakeCache.txt" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$dir/CMakeCache.txt"; then
        rm -rf "$dir" # made for a tree that was moved or copied
    fi
    cmake -S . -B "$dir" -G Ninja -DCMAKE_C_COMPILER="$compiler" "${options[@]}" || return
    ninja -C "$dir" -k 0 -j "$JOBS" "$@"
}

# build_own <targets ...>: what people run. The libraries are inside: 1.4 MB less, and half of the time to start.
build_own() { build_tree build gcc -DNP_SANITIZE= -DNP_STATIC=ON -- "$@"; }

# build_or_die <name of the log> <command ...>: a build before something else, which is seen only when it fails.
build_or_die() {
    local log=$LOGS/$1-build.log
    shift
    mkdir -p "$LOGS"
    echo "dev: building (log in $log)"
    "$@" >"$log" 2>&1 || { tail -n 40 "$log"; die "the build failed"; }
}

cmd_build() {
    local dir=build compiler=gcc sanitize="" shared=""
    while [ $# -gt 0 ]; do
        case $1 in
        --shared)
            shared=yes
            shift
            continue
            ;;
        --sanitize=* | --compiler=*)
            set -- "${1%%=*}" "${1#*=}" "${@:2}"
            continue
            ;;
        --sanitize) sanitize=${2-} ;;
        --compiler) compiler=${2-} ;;
        *) die "build: unknown option '$1'" ;;
        esac
        shift 2 || die "build: a value is missing"
    done
    case $sanitize in "" | address | thread) ;; *) die "build: --sanitize is address or thread, not '$sanitize'" ;; esac
    [ -z "$sanitize" ] || dir+=-$sanitize
    [ "$compiler" = gcc ] || dir+=-$compiler
    [ -z "$shared" ] || dir+=-shared
    # shellcheck disable=SC2086 # the lists are words
    need $NEED_BUILD
    # shellcheck disable=SC2086
    case $compiler in clang-14) need $NEED_CLANG ;; esac
    command -v "$compiler" >/dev/null || die "build: there is no compiler '$compiler'"
    if [ "$dir" = build ]; then build_own; else build_tree "$dir" "$compiler" -DNP_SANITIZE="$sanitize" --; fi || return
    echo "dev: the programs are in $dir/bin"
}
