#!/usr/bin/env bash
# Loses PostgreSQL's primary and Redis's master, one after the other, and has the other node take over; after up-and-push.sh.
# shellcheck source=tests/e2e/scripts/common.sh
. "$(dirname "$0")/common.sh"

# holder NOUN ROLE: the node that says it has the role.
holder() { spokectl "$1" status --json | jq -er --arg role "$2" '.data.nodes[] | select(.role == $role) | .service'; }
reads_and_writes() {
    rm -rf "$work/pulled"
    exits 0 spokectl versions pull payments v1.0.0 "$work/pulled"
    diff -r "$work/protos" "$work/pulled"
    exits 0 spokectl versions push payments "$1" "$work/protos" --json | holds '.status == "ok"'
}

eventually spokectl status
primary=$(holder postgres primary)
exits 0 spokectl kill "$primary"
exits 10 spokectl status --json | holds '.status == "partial" and .error.code == "degraded"'
exits 0 spokectl failover postgres --json | holds '.status == "ok"'
[ "$(holder postgres primary)" != "$primary" ]
reads_and_writes v1.1.0

eventually spokectl status
master=$(holder redis master)
exits 0 spokectl kill "$master"
exits 0 spokectl failover redis --json | holds '.status == "ok"'
[ "$(holder redis master)" != "$master" ]
reads_and_writes v1.2.0

eventually spokectl status
exits 0 spokectl versions list payments --json | holds '[.data[].version] == ["v1.2.0", "v1.1.0", "v1.0.0"]'
exits 0 spokectl events --json | jq -es 'map(.what) | index("failover postgres") and index("failover redis")' >/dev/null
