# Sourced by `ipfsfs` and `test`: finds Python, installs what the machine lacks, and makes the virtual environment.
# Whatever is said goes to stderr, and only when something is installed or lacking: stdout belongs to the command.
# shellcheck shell=bash

: "${checkout:?is set by who sources this: the root of the checkout}"
uv_version=0.13.9
environment= # set by prepare_environment
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" # where an ordinary user's PATH lacks mkfs, losetup and the like

say() { printf 'ipfsfs: %s\n' "$*" >&2; }

die() {
    say "$@"
    exit 1
}

# What is needed: a name for `present`, what it is, and its package for apt, dnf, pacman and zypper.
# PYTHON stands for the name of the interpreter's own packages.
needs_to_run='
cc|a C compiler|gcc|gcc|gcc|gcc
pkg-config|pkg-config|pkg-config|pkgconf-pkg-config|pkgconf|pkg-config
fusermount3|the tools of FUSE 3|fuse3|fuse3|fuse3|fuse3
libfuse3|the headers of libfuse 3|libfuse3-dev|fuse3-devel|fuse3|fuse3-devel
python-headers|the headers of Python|PYTHON-dev|PYTHON-devel|python|PYTHON-devel
python-venv|the venv module of Python|PYTHON-venv|PYTHON|python|PYTHON
'

# Sets `python`. The system's own comes first: an interpreter below a private home is of no use to other users.
find_python() {
    local candidate
    for candidate in /usr/bin/python3 /usr/bin/python3.{14,13,12,11} python3 python3.{14,13,12,11}; do
        python="$("$candidate" -c 'import sys; sys.version_info >= (3, 11) and print(sys.executable)' 2>/dev/null)" || continue
        [[ -z "$python" ]] || return 0
    done
    die 'Python 3.11 or newer is needed and was not found (apt-get install python3, dnf install python3,' \
        'pacman -S python, zypper install python311).'
}

present() {
    case "$1" in
        libfuse3) pkg-config --exists fuse3 2>/dev/null ;;
        python-headers) "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ;;
        python-venv) usable_uv || "$python" -c 'import ensurepip, venv' 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# The lines of the table $1 whose need is not met.
lacking() {
    local line
    while IFS= read -r line; do
        [[ -z "$line" ]] || present "${line%%|*}" || printf '%s\n' "$line"
    done <<<"$1"
}

# What the lines $1 describe, in words.
described() { cut -d'|' -f2 <<<"$1" | paste -sd, | sed 's/,/, /g'; }

# The packages for the lines $1, in column $2 of the table.
packages() { cut -d'|' -f"$2" <<<"$1" | sed "s/PYTHON/${python##*/}/" | sort -u | paste -sd' '; }

# Installs what the table $1 asks for. Where that cannot be done it says what is lacking, and how to get it; returns 1.
install_packages() {
    local lines names as_root=()
    lines="$(lacking "$1")"
    [[ -n "$lines" ]] || return 0
    if command -v apt-get >/dev/null; then
        names="$(packages "$lines" 3)"
        if ((EUID != 0)); then
            # sudo asks for a password only where somebody can type one.
            if ! command -v sudo >/dev/null || ! { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
                say "this machine lacks $(described "$lines"). As root: apt-get install $names"
                return 1
            fi
            as_root=(sudo)
        fi
        say "installing system packages with ${as_root[*]:+${as_root[*]} }apt-get: $names"
        as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
        # shellcheck disable=SC2086 # several names
        "${as_root[@]}" install -y --no-install-recommends $names >/dev/null ||
            { "${as_root[@]}" update >/dev/null && "${as_root[@]}" install -y --no-install-recommends $names >/dev/null; } ||
            true
        lines="$(lacking "$1")"
        [[ -n "$lines" ]] || return 0
        say "apt-get did not bring $(described "$lines") ($(packages "$lines" 3))"
        return 1
    fi
    say "this machine lacks $(described "$lines"). As root, one of:"
    say "    dnf install $(packages "$lines" 4)"
    say "    pacman -S $(packages "$lines" 5)"
    say "    zypper install $(packages "$lines" 6)"
    return 1
}

# True, and sets `uv`, if a uv that reads our lock file is there: on PATH, or where we put one.
usable_uv() {
    local version
    for uv in uv "$environment.uv/bin/uv"; do
        version="$("$uv" --version 2>/dev/null)" || continue
        version="${version#uv }"
        version="${version%% *}"
        [[ "$(printf '%s\n' 0.8 "$version" | sort -V | head -n1)" == 0.8 ]] && return 0
    done
    return 1
}

# Everything the environment is made from, as text: another lock file or another interpreter makes another text.
made_from() {
    (cd "$checkout" && sha256sum uv.lock pyproject.toml) && readlink -f "$1/bin/python" && echo "$checkout"
}

# True if the environment $1 was made whole, from what is here now, with the dependency groups $2 (names, or empty).
is_current() {
    local stamp group
    [[ -x "$1/bin/python" && -r "$1/ipfsfs-stamp" ]] || return 1
    stamp="$(<"$1/ipfsfs-stamp")"
    [[ "${stamp#*$'\n'}" == "$(made_from "$1")" ]] || return 1
    for group in $2; do
        [[ " ${stamp%%$'\n'*} " == *" $group "* ]] || return 1
    done
}

# Makes or renews the environment. A run that is cut off or fails leaves the marker, and the next one begins anew.
make_environment() {
    local groups="$1" group options=()
    if [[ -e "$environment.unfinished" ]]; then
        say "removing $environment, which an interrupted installation left behind"
        rm -rf "$environment" "$environment.uv"
    fi
    : >"$environment.unfinished"
    rm -f "$environment/ipfsfs-stamp"
    if ! usable_uv; then
        say "installing uv $uv_version into $environment.uv"
        "$python" -m venv --clear "$environment.uv" >&2 || return 1
        "$environment.uv/bin/python" -m pip install -q --disable-pip-version-check "uv==$uv_version" >&2 || return 1
        usable_uv || return 1
    fi
    say "installing the locked Python packages${groups:+ (and those of: $groups)} into $environment"
    for group in $groups; do options+=(--group "$group"); done
    # --inexact without groups: starting the program must not remove what the tests installed.
    [[ -n "$groups" ]] || options+=(--inexact)
    # The system's certificates where there are any: behind a proxy that opens TLS, uv's own do not do.
    [[ ! -e /etc/ssl/certs/ca-certificates.crt ]] || export UV_SYSTEM_CERTS=1
    (cd "$checkout" && UV_PROJECT_ENVIRONMENT="$environment" UV_PYTHON_DOWNLOADS=never \
        "$uv" sync --quiet --frozen --python "$python" "${options[@]}" >&2) || return 1
    "$environment/bin/python" -c 'import pyfuse3' >&2 || return 1
    { echo "$groups" && made_from "$environment"; } >"$environment/ipfsfs-stamp" && rm "$environment.unfinished"
}

# Sets `environment` to one that is whole and current, with the dependency groups $1 (names, or empty). Returns 1 where
# that cannot be done, after saying why.
prepare_environment() {
    local data key
    environment="$checkout/.venv"
    is_current "$environment" "$1" && return 0
    if [[ -e "$environment" && ! -w "$environment" ]] || [[ ! -w "$checkout" ]]; then
        data="${XDG_DATA_HOME:-${HOME:?is needed, for the virtual environment}/.local/share}/ipfsfs"
        key="$(sha256sum <<<"$checkout")"
        environment="$data/venv-${key:0:8}"
        is_current "$environment" "$1" && return 0
        mkdir -p "$data"
    fi
    find_python
    install_packages "$needs_to_run" || return 1
    (
        flock 9
        is_current "$environment" "$1" || make_environment "$1"
    ) 9>"$environment.lock" && return 0
    say "the Python packages could not be installed into $environment (see above)"
    return 1
}
