# What the scripts beside this one share. Each of them takes the port offset of the stack that SPOKECTL_STACK names, and a
# folder for its files; each ends with 0 when all was as it should be, and says what was not.
set -euo pipefail

offset=$1
work=$2
trap 'echo "$0: line $LINENO: ended with $?" >&2' ERR

# exits CODE COMMAND...: prints what the command writes to stdout; ends the script when it exits with another code.
exits() {
    local want=$1 code=0
    shift
    "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
    if [ "$code" -ne "$want" ]; then
        echo "$0: line ${BASH_LINENO[0]}: exit code $code, not $want: $*" >&2
        cat "$work/out" "$work/err" >&2
        exit 1
    fi
    cat "$work/out"
}

# holds FILTER: whether the JSON on stdin is so; shows it when it is not.
holds() {
    local json
    json=$(cat)
    jq -e "$1" <<<"$json" >/dev/null || {
        echo "$0: line ${BASH_LINENO[0]}: not so: $1" >&2
        echo "$json" >&2
        exit 1
    }
}

# eventually COMMAND...: returns once the command exits with 0; ends the script when it has not within five minutes.
eventually() {
    local end=$((SECONDS + 300))
    until "$@" >"$work/out" 2>"$work/err" </dev/null; do
        if [ $SECONDS -gt $end ]; then
            echo "$0: line ${BASH_LINENO[0]}: never: $*" >&2
            cat "$work/out" "$work/err" >&2
            exit 1
        fi
        sleep 0.2
    done
}
