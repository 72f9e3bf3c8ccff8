# Sourced by `ipfsfs` and `test`: finds Python, installs what the machine lacks, and makes the virtual environment.
# Whatever is said goes to stderr, and only when something is installed or lacking: stdout belongs to the command.
#
# Where B is `.venv` of the checkout; where that cannot be written, a path below the user's data directory (root's is
# /var/lib); or what IPFSFS_VENV says, as in the units that `install-units` writes:
#
#   B.d/XXXXXXXX   the environments, each made where it stays, since its scripts hold its path
#   B              a link to the last one that was made; a directory where an earlier version of this file made it
#   B.lock         locked by the one installation that may be under way
#   B.uv           our uv, where there is none on PATH
#
# An environment is whole if it holds `ipfsfs-stamp`, which is written last and says what it was made from. While a
# Python of it runs, the stamp is locked (`environment_in_use.py`): what is locked is not removed.
# shellcheck shell=bash

: "${checkout:?is set by who sources this: the root of the checkout}"
uv_version=0.13.9
base=        # set by prepare_environment, as is the next
environment= # the directory of the environment to use
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
    for uv in uv "$base.uv/bin/uv"; do
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

# True if the environment $1 was made whole, and the program as it is here now starts in it.
is_usable() { [[ -r "$1/ipfsfs-stamp" ]] && "$1/bin/python" -I -c 'import ipfsfs.cli.main' 2>/dev/null; }

# Locks the environment $1 for as long as this process lives, whatever program it becomes; sets `in_use` to the
# descriptor. Returns 1 if the environment is not whole, or is being removed.
lock_environment() {
    { exec {in_use}<"$1/ipfsfs-stamp"; } 2>/dev/null || return 1
    ! flock -sn "$in_use" || return 0
    exec {in_use}<&-
    return 1
}

# Sets `environment` to the first one for which `$1 ENVIRONMENT $2` is true, and locks it.
use_environment() {
    local candidate
    for candidate in "$base" "$base".d/*; do
        candidate="$(readlink -e -- "$candidate")" || continue
        lock_environment "$candidate" || continue
        environment="$candidate"
        ! "$1" "$candidate" "$2" || return 0
        exec {in_use}<&-
    done
    return 1
}

# Takes its stamp from the environment $1. Returns 1 if it is in use.
take_stamp() {
    local stamp="$1/ipfsfs-stamp" taking
    [[ -e "$stamp" ]] || return 0
    { exec {taking}<>"$stamp"; } 2>/dev/null || return 1
    if flock -xn "$taking"; then rm -f "$stamp"; fi
    exec {taking}>&-
    [[ ! -e "$stamp" ]]
}

# Removes the environments that are neither in use nor what `base` points at, and what is left of an installation or a
# removal that was cut off. For who holds the installation's lock.
remove_old_environments() {
    local old current
    current="$(readlink -f -- "$base")"
    for old in "$base".d/*; do
        if [[ -e "$old" && ! "$old" -ef "$current" ]] && take_stamp "$old"; then rm -rf "$old"; fi
    done
}

# True if a process runs from the directory `base`. Earlier versions of this file made it, and it has no lock. The
# pattern goes through stdin: on the command line of grep it would find itself.
# shellcheck disable=SC2062 # no pattern, but files
runs_from_base() { grep -qsaF -f - /proc/[0-9]*/{cmdline,maps} <<<"$base/"; }

# Points `base` at the environment that is to be used. For who holds the installation's lock.
point_at_environment() {
    local old
    if [[ -d "$base" && ! -L "$base" ]]; then
        if runs_from_base || ! take_stamp "$base"; then
            say "a process runs from $base, so it stays until the next installation"
            return 0
        fi
        old="$(mktemp -u "$base.d/XXXXXXXX")"
        mv -T "$base" "$old" && rm -f "$base.unfinished" || return 1
    fi
    ln -sfn "${base##*/}.d/${environment##*/}" "$base.next" && mv -T "$base.next" "$base"
}

# Makes an environment with the dependency groups $1. What a run that is cut off or fails has made has no stamp.
make_environment() {
    local groups="$1" group options=() site
    environment="$(mktemp -u "$base.d/XXXXXXXX")"
    if ! usable_uv; then
        say "installing uv $uv_version into $base.uv"
        "$python" -m venv --clear "$base.uv" >&2 || return 1
        "$base.uv/bin/python" -m pip install -q --disable-pip-version-check "uv==$uv_version" >&2 || return 1
        usable_uv || return 1
    fi
    say "installing the locked Python packages${groups:+ (and those of: $groups)} into $environment"
    for group in $groups; do options+=(--group "$group"); done
    # The system's certificates where there are any: behind a proxy that opens TLS, uv's own do not do.
    [[ ! -e /etc/ssl/certs/ca-certificates.crt ]] || export UV_SYSTEM_CERTS=1
    (cd "$checkout" && UV_PROJECT_ENVIRONMENT="$environment" UV_PYTHON_DOWNLOADS=never \
        "$uv" sync --quiet --frozen --python "$python" "${options[@]}" >&2) || return 1
    "$environment/bin/python" -c 'import pyfuse3' >&2 || return 1
    site="$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || return 1
    cp "$checkout/mount_scripts/environment_in_use.py" "$site/" &&
        echo 'import environment_in_use' >"$site/environment_in_use.pth" &&
        { echo "$groups" && made_from "$environment"; } >"$environment/stamp" &&
        mv "$environment/stamp" "$environment/ipfsfs-stamp"
}

# Sets and locks `environment`, after an installation with the dependency groups $1 if another process has not made
# what is wanted meanwhile. A command that an older environment serves does not wait for another's installation.
install_environment() {
    local installing status=0
    mkdir -p "$base.d" && { exec {installing}>"$base.lock"; } || return 1
    if ! flock -n "$installing"; then
        if [[ -z "$1" ]] && use_environment is_usable ''; then
            say "packages are being installed by another process: using $environment meanwhile"
            exec {installing}>&-
            return 0
        fi
        say "packages are being installed into $base.d by another process: waiting for its end"
        flock "$installing" || return 1
    fi
    if ! use_environment is_current "$1"; then
        remove_old_environments
        make_environment "$1" && lock_environment "$environment" && point_at_environment && remove_old_environments ||
            status=1
    fi
    exec {installing}>&- # or the program, and what it starts, would hold it
    return "$status"
}

# Sets `base`, and `environment` to one that is whole and current, with the dependency groups $1 (names, or empty), and
# locks it for this process. Returns 1 where one is still to be made.
find_environment() {
    local data key
    base="${IPFSFS_VENV:-$checkout/.venv}"
    ! use_environment is_current "$1" || return 0
    [[ -z "${IPFSFS_VENV:-}" ]] || return 1
    if [[ ! -w "$checkout" || -e "$base.d" && ! -w "$base.d" ]]; then
        data="${XDG_DATA_HOME:-}"
        # Root's home is private, and what init starts (services, the mounts of fstab) has no HOME.
        ((EUID != 0)) || data="${data:-/var/lib}"
        data="${data:-${HOME:?is needed, for the virtual environment}/.local/share}"
        key="$(sha256sum <<<"$checkout")"
        base="$data/ipfsfs/venv-${key:0:8}"
        ! use_environment is_current "$1" || return 0
    fi
    return 1
}

# As `find_environment`, and makes the environment where there is none. Returns 1 where that cannot be done, after saying
# why.
prepare_environment() {
    ! find_environment "$1" || return 0
    [[ -z "${_IPFSFS_COMPLETE:-}" ]] || return 1 # a press of TAB installs nothing
    find_python
    install_packages "$needs_to_run" || return 1
    ! install_environment "$1" || return 0
    say "the Python packages could not be installed into $base.d (see above)"
    return 1
}
