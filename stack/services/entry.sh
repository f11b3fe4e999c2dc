# shellcheck shell=sh
# What the entry scripts share. Sourced, never run: . "$here/../entry.sh"
# POSIX sh: the same text runs in a container's dash and in macOS's bash 3.2.

# Configurations hold passwords: nothing that a script writes is readable by others.
umask 077

say() {
    printf '%s %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "${SPOKE_NODE:-entry}" "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

# host:port, as the stack file and the native runtime write addresses.
host_of() { printf '%s\n' "${1%:*}"; }
port_of() { printf '%s\n' "${1##*:}"; }

# The name of the service that listens at an address: natively the table in SPOKE_ADDRESSES knows, in containers the
# host is the name. An address that neither explains is its own name, so that names stay different.
name_of() {
    for pair in ${SPOKE_ADDRESSES:-}; do
        if [ "${pair#*=}" = "$1" ]; then
            pair=${pair%%=*}
            printf '%s\n' "${pair%:*}"
            return
        fi
    done
    case ${1%:*} in
        *[!0-9.]*) host_of "$1" ;;
        *) printf '%s\n' "$1" ;;
    esac
}

# A word as the configuration grammar of Redis reads it back: any byte but a line break.
redis_quoted() {
    case $1 in
        *"
"*) fail "a Redis password must not contain a line break; choose another with: spokectl config set SPOKE_REDIS_PASSWORD=..." ;;
    esac
    printf '"%s"\n' "$(printf '%s' "$1" | LC_ALL=C sed 's/[\\"]/\\&/g')"
}

# Fails unless every named variable has a value.
require() {
    for name in "$@"; do
        eval "[ -n \"\${$name:-}\" ]" || fail "$name is not set; the stack file sets it in this service's environment"
    done
}

# The folder for sockets, pid files and rendered configuration; it need not outlive the server.
private_run_dir() {
    mkdir -p "${SPOKE_RUN_DIR:=/tmp/spoke}"
    export SPOKE_RUN_DIR
}
