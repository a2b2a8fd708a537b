# packages.sh - what each command of ./dev needs, and its installation with apt-get.
# shellcheck shell=bash

# One line per need: how to see that it is there, and the Debian package that brings it.
NEED_BUILD="cmd:gcc=gcc hdr:stdio.h=libc6-dev cmd:cmake=cmake cmd:ninja=ninja-build cmd:pkg-config=pkg-config
    hdr:openssl/ssl.h=libssl-dev hdr:event2/event.h=libevent-dev hdr:protobuf-c/protobuf-c.h=libprotobuf-c-dev
    cmd:protoc-c=protobuf-c-compiler hdr:uthash.h=uthash-dev hdr:nng/nng.h=libnng-dev
    hdr:cjson/cJSON.h=libcjson-dev hdr:sqlite3.h=libsqlite3-dev hdr:curl/curl.h=libcurl4-openssl-dev hdr:cmocka.h=libcmocka-dev cmd:python3=python3"
NEED_CLANG="cmd:clang-14=clang-14 file:/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux=libclang-rt-14-dev"
NEED_LINT="cmd:clang-format-14=clang-format-14 cmd:python3=python3"
NEED_REPORT="cmd:clang-tidy-14=clang-tidy-14 cmd:cppcheck=cppcheck cmd:pmccabe=pmccabe"
NEED_E2E="cmd:python3=python3 py:pytest=python3-pytest py:pytest_timeout=python3-pytest-timeout
    py:xdist=python3-pytest-xdist cmd:openssl=openssl cmd:curl=curl cmd:socat=socat cmd:nngcat=nng-utils cmd:ip=iproute2
    cmd:wrk=wrk"
NEED_COVERAGE="cmd:gcovr=gcovr"
NEED_RUN="cmd:python3=python3 cmd:curl=curl"
NEED_BENCH="cmd:python3=python3 cmd:ip=iproute2 cmd:openssl=openssl cmd:iperf3=iperf3 cmd:wrk=wrk cmd:socat=socat
    cmd:haproxy=haproxy file:/usr/lib/nginx/modules/ngx_stream_module.so=libnginx-mod-stream cmd:nginx=nginx
    cmd:stunnel4=stunnel4 cmd:ss-tunnel=shadowsocks-libev"
NEED_PROFILE="cmd:python3=python3 cmd:ip=iproute2 cmd:perf=linux-perf cmd:valgrind=valgrind"
NEED_CLIENTS="$NEED_E2E cmd:chromium=chromium cmd:chromedriver=chromium-driver cmd:ssh=openssh-client
    file:/usr/sbin/sshd=openssh-server py:venv=python3-venv py:ensurepip=python3-venv"

have() {
    local kind=${1%%:*} name=${1#*:} package=$2
    if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ]; then
        return 0
    fi
    case $kind in
    cmd) command -v "$name" >/dev/null ;;
    file) [ -e "$name" ] ;;
    py) "$PYTHON" -c "import $name" 2>/dev/null ;;
    hdr) echo "#include <$name>" | gcc -E -o /dev/null - 2>/dev/null ;;
    esac
}

need() {
    local entry missing=() as_root=()
    for entry in "$@"; do
        have "${entry%=*}" "${entry##*=}" || missing+=("${entry##*=}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "there is no apt-get here; please install what Debian calls: ${missing[*]}"
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "please install as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    echo "dev: installing with apt-get: ${missing[*]}"
    # dpkg calls programs of the sbin folders, which not everybody has in PATH.
    local install=("${as_root[@]}" env "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300)
    if ! "${install[@]}" install --no-install-recommends "${missing[@]}" >/dev/null 2>&1 </dev/null; then
        "${install[@]}" update </dev/null || die "apt-get update failed"
        "${install[@]}" install --no-install-recommends "${missing[@]}" >/dev/null </dev/null ||
            die "apt-get could not install: ${missing[*]}"
    fi
    # Debian starts services when it installs them; as peers of a measurement they are only programs.
    [ -d /run/systemd/system ] || return 0
    for entry in nginx haproxy stunnel4 shadowsocks-libev; do
        case " ${missing[*]} " in *" $entry "*) "${as_root[@]}" systemctl disable --quiet --now "$entry" ;; esac
    done
}
