# Builds one command of a Go module as its main module, for the scripts that source this. Not run by itself.
#
# From a copy of the module's files: its own go.mod and go.sum then say which versions and which hashes. (`go install
# MODULE/COMMAND@VERSION` refuses a go.mod with an `exclude` block, and knows no hashes.)

# go_module_build NAME BINARY MODULE VERSION COMMAND HASH GO_MOD_HASH GO_VERSION
#
# Prints the path of BINARY, built once below the cache of the user; nothing else goes to stdout. `answers BINARY` must
# be defined: whether a binary is the one that is wanted. HASH and GO_MOD_HASH vouch for the module itself, which its
# own go.sum cannot. Exit 1 without a Go toolchain of GO_VERSION or newer (or one that may fetch it: GOTOOLCHAIN=auto).
go_module_build() {
    local name="$1" command="$5" module="$3" version="$4" needed="$8" go
    local home="${XDG_CACHE_HOME:-$HOME/.cache}/ipfsfs-tests/$name-${version#v}"
    local binary="$home/$2"
    if [[ -x "$binary" ]] && answers "$binary"; then
        echo "$binary"
        return
    fi
    go="$(command -v go || true)"
    if [[ -z "$go" && -x /usr/local/go/bin/go ]]; then
        go=/usr/local/go/bin/go
    fi
    if [[ -z "$go" ]]; then
        echo "build-$name: no Go toolchain found; $module $version needs Go $needed or newer (https://go.dev/dl/)." >&2
        return 1
    fi
    mkdir -p "$home"
    exec 9>"$home/lock"
    flock 9
    if [[ -x "$binary" ]] && answers "$binary"; then # built by another process while we waited for the lock
        echo "$binary"
        return
    fi
    work="$(mktemp -d)"
    trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
    echo "build-$name: building $module $version with $("$go" version); this takes a few minutes" >&2
    mkdir "$work/fetch"
    printf 'module fetch\ngo 1.21\nrequire %s %s\n' "$module" "$version" >"$work/fetch/go.mod"
    printf '%s %s h1:%s\n%s %s/go.mod h1:%s\n' "$module" "$version" "$6" "$module" "$version" "$7" >"$work/fetch/go.sum"
    (cd "$work/fetch" && "$go" mod download "$module") >&2
    cp -r "$(cd "$work/fetch" && "$go" list -m -f '{{.Dir}}' "$module")" "$work/module"
    chmod -R u+w "$work/module"
    (cd "$work/module" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false "$go" build -mod=readonly -trimpath -ldflags="-s -w" \
        -o "$work/built" "./$command") >&2
    if ! answers "$work/built"; then
        echo "build-$name: what was built does not answer as version ${version#v}" >&2
        return 1
    fi
    mv "$work/built" "$binary"
    echo "$binary"
}
