#!/usr/bin/env bash
# Looks into the caches, measures them, empties Redis, and reads metrics; after up-and-push.sh.
# shellcheck source=tests/e2e/scripts/common.sh
. "$(dirname "$0")/common.sh"

# It is read each time: a Spoke tells Redis behind its answer, and what it tells a Redis that is not there yet is lost.
read_and_cached() {
    rm -rf "$work/pulled"
    spokectl versions pull payments v1.0.0 "$work/pulled" || return
    spokectl cache keys --match 'version:payments:*' --json | jq -e '[.data.keys[].key] == ["version:payments:v1.0.0"]'
}

exits 0 spokectl cache bench --reads 5 --json | holds '.data.own and .data.cold.reads >= 5 and .data.warm.reads >= 5'
exits 0 spokectl modules list --json | holds '[.data[].name] == ["payments"]'
exits 0 spokectl cache keys --match 'version:spokectl-*' --json | holds '.data.keys == [] and .data.complete'
exits 0 spokectl cache bench --module payments --version v1.0.0 --reads 5 --json | holds '[.data.sources[].reads] | add == 15'
exits 4 spokectl cache bench --module payments --version v9 --json | holds '.error.code == "not_found"'

# A Spoke tells Redis only what it has read from PostgreSQL: with nothing in its memory, here.
exits 0 spokectl restart spoke-1 spoke-2 spoke-3 >/dev/null
eventually read_and_cached
exits 0 spokectl cache keys --json | holds '.data.keys | all(.type == "string" and .size_bytes > 0 and .ttl_s > 0)'
exits 0 spokectl shell redis -- SET mine kept >/dev/null
exits 3 spokectl cache flush --json | holds '.error.code == "confirmation_required"'
exits 0 spokectl cache flush --yes --json | holds '.data.deleted >= 1 and .data.patterns == ["version:*"]'
exits 0 spokectl cache keys --json | holds '[.data.keys[].key] == ["mine"] and .data.complete'
rm -r "$work/pulled"
exits 0 spokectl versions pull payments v1.0.0 "$work/pulled"
diff -r "$work/protos" "$work/pulled"

exits 0 spokectl cache stats --json | holds '.data | (.spokes | length == 3) and .total.memory.misses > 0 and (.redis | length == 2)'
exits 0 spokectl metrics --match 'cache_misses_total.*memory' --json |
    holds '[.data.series[] | select(.source == "spokes")] | length == 1 and .[0].kind == "counter"'
exits 0 spokectl metrics --service spoke-1 --rate --interval 500ms --json | holds '.data.series | any(.per_second["spoke-1"] >= 0)'
exits 2 spokectl metrics --match '(' --json | holds '.error.code == "bad_pattern"'
exits 4 spokectl metrics --service spoke-9 --json | holds '.error.code == "unknown_service"'

exits 0 spokectl kill spoke-2
exits 10 spokectl metrics --match cache_size --json | holds '.data.silent | keys == ["spoke-2"]'
exits 10 spokectl cache stats --json | holds '.data.spokes[] | select(.service == "spoke-2") | .memory == null and .reason != ""'
exits 0 spokectl start spoke-2
