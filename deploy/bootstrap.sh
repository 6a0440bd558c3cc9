#!/bin/sh
# Make a Debian machine ready: system packages (as root or through sudo), uv, and .venv from the lock file.
# Safe to repeat; when nothing is missing it takes well under a second.
#   FRESHET_CACHE   folder for downloads (default: ~/.cache/freshet)
#   --browser       Chromium and a font as well, for the test of Open WebUI and the screenshots
set -eu

browser=
case "${1:-}" in
    -h | --help)
        sed -n '2,5s/^# \{0,1\}//p' "$0"
        exit 0
        ;;
    --browser) browser=wanted ;;
esac
cd "$(dirname "$0")/.."
cache=${FRESHET_CACHE:-$HOME/.cache/freshet}
uv_version=0.13.9
stamp=.venv/freshet-lock.sha256

say() { printf 'bootstrap: %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

find_uv() {
    if has uv; then
        command -v uv
    elif [ -x "$cache/uv/bin/uv" ]; then
        echo "$cache/uv/bin/uv"
    fi
}

# What decides .venv: the lock file, and the kernel that is compiled into it.
wanted() { cat uv.lock pyproject.toml processors/kernel/pyproject.toml processors/kernel/*.[ch] | sha256sum; }
current() { [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(wanted)" ]; }

# The kernel needs the headers of the Python that uv will use: Debian has them apart, those that uv brings have theirs.
has_headers() {
    python=python3
    [ -z "$(find_uv)" ] || python=$("$(find_uv)" python find 2>/dev/null) || return 0
    "$python" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null
}

missing_packages() {
    has mvn || echo maven
    has redis-server || echo redis-server
    for tool in make git curl python3 gcc; do
        has "$tool" || echo "$tool"
    done
    [ -e /usr/include/stdio.h ] || echo libc6-dev
    current || has_headers || echo python3-dev
    if [ -n "$browser" ]; then
        [ -x /usr/bin/chromium ] || echo chromium
        [ -d /usr/share/fonts/truetype/dejavu ] || echo fonts-dejavu-core
    fi
    # Only needed to get uv, which then brings what else is needed.
    [ -n "$(find_uv)" ] || { has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; } || echo python3-venv
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# While /usr/sbin/policy-rc.d says 101, packages do not start their services: Redis is ours to start, on our port.
forbid_services() {
    policy=/usr/sbin/policy-rc.d
    [ ! -e "$policy" ] || return 0
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 130' INT TERM
    as_root chmod 755 "$policy"
}

install_packages() {
    has apt-get || fail "missing: $* (no apt-get here: install them with your package manager and run this again)"
    [ "$(id -u)" -eq 0 ] || has sudo || fail "missing: $* (as root: apt-get install $*)"
    log=$(mktemp)
    forbid_services || fail "missing: $* (as root: apt-get install $*)"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >"$log" 2>&1 || true # what is listed may be enough
    for package in "$@"; do
        say "installing $package"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" \
            >"$log" 2>&1 || fail "cannot install $package: $(grep -m 1 '^[EW]:' "$log" || tail -n 1 "$log") (log: $log)"
        # Nor at the next boot; only what was installed here is touched.
        if [ "$package" = redis-server ] && [ -d /run/systemd/system ]; then
            as_root systemctl disable -q redis-server >"$log" 2>&1 || true
        fi
    done
    rm -f "$log"
}

install_uv() {
    say "installing uv $uv_version into $cache/uv"
    log=$(mktemp)
    mkdir -p "$cache"
    # An environment of its own: Debian's Python refuses pip outside of one.
    if ! { python3 -m venv --clear "$cache/uv" && "$cache/uv/bin/pip" install -q "uv==$uv_version"; } >"$log" 2>&1; then
        rm -rf "$cache/uv"
        fail "cannot install uv from PyPI: $(grep -m 1 ERROR "$log" || tail -n 1 "$log") (needs the network once)"
    fi
    rm -f "$log"
}

build_environment() {
    current && return 0
    uv=$(find_uv)
    [ -n "$uv" ] || install_uv
    say "building .venv from uv.lock with $(find_uv) (about 6 GB; minutes on a slow line)"
    UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180} "$(find_uv)" sync --frozen --no-progress --quiet ||
        fail "uv could not build .venv (its message is above); without a network it needs a filled uv cache"
    wanted >"$stamp"
}

missing=$(missing_packages)
# shellcheck disable=SC2086  # one word a package
[ -z "$missing" ] || install_packages $missing
build_environment
