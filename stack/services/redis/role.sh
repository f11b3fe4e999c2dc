# shellcheck shell=sh
# Which role a Redis node starts in. Sourced by run.
#
# redis-cli is asked in the background and stopped when time is up, because a frozen server accepts a connection and
# never answers.

poll_s=0.1
polls_a_second=10
# Everything starts at once on few cores, and natively redis-cli is a Python program: asking more often makes it later.
ask_pause_s=0.2

# Whose replica the server's own rewritten configuration makes it; itself, when nobody's.
master_by_own_file() { # CONFIGURATION
    awk -v own="$SPOKE_REDIS_ANNOUNCE" '
        $1 == "replicaof" { master = $2 ":" $3 }
        END { print master == "" ? own : master }
    ' "$1"
}

# Prints the master that the Sentinels name, or nothing when none answers within 3 s.
master_by_sentinels() {
    unset REDISCLI_AUTH # Sentinels have no password and would complain
    answers=$(mktemp -d "$SPOKE_RUN_DIR/sentinels.XXXXXX")
    listed=$(printf '%s' "$SPOKE_REDIS_SENTINELS" | tr ',' ' ')
    asked=0
    askers=
    for sentinel in $listed; do
        asked=$((asked + 1))
        keep_asking "$answers/$asked" config-epoch redis-cli -h "$(host_of "$sentinel")" -p "$(port_of "$sentinel")" \
            SENTINEL MASTER "$SPOKE_REDIS_MASTER_NAME" &
        askers="$askers $!"
    done
    polls=$((3 * polls_a_second))
    verdict=
    while [ $polls -gt 0 ]; do
        polls=$((polls - 1))
        sleep $poll_s
        verdict=$(judge $((asked / 2 + 1)) "$answers")
        case $verdict in sure*) break ;; esac
    done
    stop_asking "$answers" "$askers"
    printf '%s\n' "${verdict#* }"
}

# Reads answers to SENTINEL MASTER and prints "sure ADDRESS", "unsure ADDRESS" or nothing.
#
# Among the answers the highest config-epoch counts, as among Sentinels themselves: one that was restarted from an old
# file is overruled by those that know better. Sure means that a majority has answered, and, when this node is the
# master, that no failover away from it is being decided right now.
judge() { # MAJORITY FOLDER
    find "$2" -type f -name '*.answer' -exec cat {} + | awk -v majority="$1" -v own="$SPOKE_REDIS_ANNOUNCE" '
        function close_answer() {
            if (("ip" in field) && ("port" in field) && ("config-epoch" in field) && ("flags" in field)) {
                count++
                if (best == "" || field["config-epoch"] + 0 > epoch) {
                    epoch = field["config-epoch"] + 0
                    best = field["ip"] ":" field["port"]
                }
                if (field["flags"] ~ /o_down|failover_in_progress/) contested = 1
            }
            split("", field)
        }
        is_value { field[key] = $0; is_value = 0; next }
        $0 == "name" { close_answer() }
        { key = $0; is_value = 1 }
        END {
            close_answer()
            if (count) print (count >= majority && !(best == own && contested) ? "sure" : "unsure"), best
        }
    '
}

# Waits until a server answers: a replica that comes before its master finds nobody and pauses for a second.
wait_for_server() { # ADDRESS SECONDS
    answers=$(mktemp -d "$SPOKE_RUN_DIR/master.XXXXXX")
    REDISCLI_AUTH=$SPOKE_REDIS_PASSWORD
    export REDISCLI_AUTH
    keep_asking "$answers/1" 'PONG|LOADING|NOAUTH|WRONGPASS' \
        redis-cli --no-auth-warning -h "$(host_of "$1")" -p "$(port_of "$1")" PING &
    asker=$!
    unset REDISCLI_AUTH
    polls=$(($2 * polls_a_second))
    while [ $polls -gt 0 ] && [ ! -e "$answers/1.answer" ]; do
        polls=$((polls - 1))
        sleep $poll_s
    done
    stop_asking "$answers" "$asker"
}

# Repeats a command as long as the script lives; FILE.answer holds its last output that matched the pattern.
keep_asking() { # FILE PATTERN COMMAND...
    file=$1 pattern=$2
    shift 2
    # Where everything starts at once, nobody answers yet; a question that must fail only makes the others later.
    sleep $poll_s
    while kill -0 $$; do
        "$@" >"$file.part" 2>&1 </dev/null &
        echo $! >"$file.pid"
        wait $! || true
        rm -f "$file.pid"
        if grep -Eq "$pattern" "$file.part"; then mv "$file.part" "$file.answer"; fi
        sleep $ask_pause_s
    done 2>/dev/null
}

# Ends the askers, then a command of theirs that still waits for an answer.
stop_asking() { # FOLDER PIDS
    # shellcheck disable=SC2086 # a list of process ids
    kill $2 2>/dev/null || true
    # shellcheck disable=SC2086
    wait $2 2>/dev/null || true
    for left in "$1"/*.pid; do
        if [ -e "$left" ]; then kill "$(cat "$left")" 2>/dev/null || true; fi
    done
    rm -rf "$1"
}
