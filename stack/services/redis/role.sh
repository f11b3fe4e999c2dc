# shellcheck shell=sh
# Which role a Redis node starts in. Sourced by run; docs/redis.md has the rule and its reasons.
#
# The promise: a node that starts never says that it is the master while another does. So it stays down until it knows:
# the other nodes are asked for their ROLE and the Sentinels for the master, all at once, again and again, until the
# answers settle it or patience ends. A node that has not opened its port cannot be promoted either.
#
# redis-cli is asked in the background and stopped when time is up, because a frozen server accepts a connection and
# never answers.

poll_s=0.1
polls_a_second=10
# Everything starts at once on few cores, and natively redis-cli is a Python program: asking more often makes it later.
ask_pause_s=0.2
# Who has answered is asked again for a change of mind only.
heard_pause_s=0.5

# Whose replica the server's own rewritten configuration makes it; itself, when nobody's.
master_by_own_file() { # CONFIGURATION
    awk -v own="$SPOKE_REDIS_ANNOUNCE" '
        $1 == "replicaof" { master = $2 ":" $3 }
        END { print master == "" ? own : master }
    ' "$1"
}

# Sets `master` and `reason`, for run to use. BEFORE is the master as this node last knew it, START `first` or `later`.
settle_master() { # BEFORE START
    answers=$(mktemp -d "$SPOKE_RUN_DIR/answers.XXXXXX")
    askers=
    # As a container's first process a shell ignores the signal to stop unless it has a trap for it.
    trap 'stop_asking; exit 143' TERM INT
    ask_everybody
    polls=0 urged=
    # shellcheck disable=SC2034 # reason and master are the result
    while :; do
        sleep $poll_s
        polls=$((polls + 1))
        read -r verdict patience_s master sentinel reason <<VERDICT
$(judge "$1" "$2" "$answers")
VERDICT
        if [ "$verdict" = sure ] || [ $polls -ge $((patience_s * polls_a_second)) ]; then break; fi
        if [ "$verdict" = failover ] && [ -z "$urged" ]; then
            urged=$sentinel
            say "asking $(name_of "$urged") to make a living replica the master"
            keep_asking once "failover=$urged" 'OK|INPROG' redis-cli -h "$(host_of "$urged")" -p "$(port_of "$urged")" \
                SENTINEL FAILOVER "$SPOKE_REDIS_MASTER_NAME" &
            askers="$askers $!"
        fi
    done
    stop_asking
    trap - TERM INT
}

ask_everybody() {
    REDISCLI_AUTH=$SPOKE_REDIS_PASSWORD
    export REDISCLI_AUTH
    for node in $SPOKE_REDIS_FIRST_MASTER $(listed "${SPOKE_REDIS_REPLICAS:-}"); do
        [ "$node" != "$SPOKE_REDIS_ANNOUNCE" ] || continue
        echo waiting >"$answers/node=$node"
        keep_asking again "node=$node" '^(master|slave|LOADING|NOAUTH)' \
            redis-cli --no-auth-warning -h "$(host_of "$node")" -p "$(port_of "$node")" ROLE &
        askers="$askers $!"
    done
    unset REDISCLI_AUTH # Sentinels have no password and would complain
    for sentinel in $(listed "$SPOKE_REDIS_SENTINELS"); do
        echo waiting >"$answers/sentinel=$sentinel"
        keep_asking again "sentinel=$sentinel" '^config-epoch$' \
            redis-cli -h "$(host_of "$sentinel")" -p "$(port_of "$sentinel")" \
            SENTINEL MASTER "$SPOKE_REDIS_MASTER_NAME" &
        askers="$askers $!"
    done
}

listed() { printf '%s' "$1" | tr ',' ' '; }

# Asks as long as the script lives, or `once`: until there is an answer. FILE holds what the latest question brought:
# `waiting` before the first, `silent` after one without an answer that matches the pattern, else the answer.
keep_asking() { # again|once FILE PATTERN COMMAND...
    until_when=$1 file=$answers/$2 part=$answers/.$2 pattern=$3
    shift 3
    # Where everything starts at once, nobody answers yet; a question that must fail only makes the others later.
    sleep $poll_s
    while kill -0 $$; do
        "$@" >"$part" 2>/dev/null </dev/null &
        echo $! >"$part.pid"
        wait $! || true
        rm -f "$part.pid"
        if grep -Eq "$pattern" "$part"; then
            mv "$part" "$file"
            [ "$until_when" = again ] || return 0
            sleep $heard_pause_s
        else
            echo silent >"$part"
            mv "$part" "$file"
            sleep $ask_pause_s
        fi
    done 2>/dev/null
}

# Ends the askers, then a command of theirs that still waits for an answer.
stop_asking() {
    # shellcheck disable=SC2086 # a list of process ids
    kill $askers 2>/dev/null || true
    # shellcheck disable=SC2086
    wait $askers 2>/dev/null || true
    for left in "$answers"/.*.pid; do
        if [ -e "$left" ]; then kill "$(cat "$left")" 2>/dev/null || true; fi
    done
    rm -rf "$answers"
}

# Reads all answers and prints "VERDICT PATIENCE_S MASTER SENTINEL REASON". The verdict is `sure`; `wait`: MASTER it is,
# unless better is known before PATIENCE_S have passed since the start; or `failover`: wait, and ask SENTINEL for one.
#
# Among Sentinels the highest config-epoch counts, as among themselves: one that was restarted from an old file is
# overruled by those that know better.
judge() { # BEFORE first|later FOLDER
    awk -v own="$SPOKE_REDIS_ANNOUNCE" -v before="$1" -v start="$2" -v label="$SPOKE_REDIS_FIRST_MASTER" '
        FNR == 1 {
            close_answer()
            kind = address = FILENAME
            sub(/.*\//, "", kind); sub(/=.*/, "", kind)
            sub(/.*=/, "", address)
            asked[kind]++
            if ($0 == "waiting") waiting[kind]++
            if (kind == "node") role[address] = $0
            if (kind == "node" && $0 == "slave") replica = address
        }
        kind == "sentinel" { if (FNR % 2) key = $0; else field[key] = $0 }

        function close_answer() {
            if (("ip" in field) && ("port" in field) && ("config-epoch" in field) && ("flags" in field)) note_sentinel()
            split("", field)
        }
        function note_sentinel() {
            heard++
            if (named == "" || field["config-epoch"] + 0 > epoch) {
                epoch = field["config-epoch"] + 0
                named = field["ip"] ":" field["port"]
                believer = address
                missed = 0
            }
            if (field["ip"] ":" field["port"] == named && field["flags"] ~ /[so]_down/) missed = 1
            if (field["flags"] ~ /failover_in_progress/) {
                moving = 1
                failover_s = int(field["failover-timeout"] / 1000) + 5
            }
        }
        function say(verdict, patience_s, master, reason) {
            print verdict, patience_s, master, (verdict == "failover" ? believer : "-"), reason
            said = 1
        }

        function by_nodes(    node) {
            for (node in role) {
                if (role[node] != "master" || said) continue
                # As soon as this node is open it can be promoted: not before the Sentinels have seen that the master lives.
                if (named == node && moving) say("wait", failover_s, node, "a failover from it does not end")
                else if (named == node && missed) say("wait", 5, node, "it says that it is the master")
                else if (waiting["sentinel"]) say("wait", 1, node, "it says that it is the master")
                else say("sure", 0, node, "it says that it is the master")
            }
        }
        function by_sentinels() {
            if (named != own) {
                # A replica that finds no master pauses for a second, and one whose master is dead may be promoted.
                say("wait", start == "first" ? 10 : 5, named, "the Sentinels say so")
            } else if (moving) {
                say("wait", failover_s, replica == "" ? own : replica, "a failover does not end")
            } else if (heard * 2 <= asked["sentinel"] && (start == "later" || waiting["sentinel"])) {
                say("wait", 3, own, "too few Sentinels answer")
            } else if (waiting["node"]) {
                say("wait", 3, own, "the Sentinels say so; another node does not answer")
            } else if (replica != "") {
                say("failover", 12, own, "the Sentinels say so, and will not promote " replica)
            } else {
                say("sure", 0, own, "the Sentinels say so")
            }
        }
        function by_itself() {
            if (start == "first" && before == own) {
                say(waiting["node"] || waiting["sentinel"] ? "wait" : "sure", 3, own, "first start")
            } else if (start == "first") {
                say("wait", 10, before, "first start")
            } else {
                # Two nodes whose files both say master: the labelled one is earlier, the other then sees it.
                say("wait", before == own && own == label ? 3 : 5, before, "no Sentinel answered; as it was")
            }
        }
        END {
            close_answer()
            by_nodes()
            if (!said && heard) by_sentinels()
            if (!said) by_itself()
        }
    ' "$3"/*=*
}
