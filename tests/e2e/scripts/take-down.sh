#!/usr/bin/env bash
# Takes the stack down, first with its data kept, then for good; after up-and-push.sh.
# shellcheck source=tests/e2e/scripts/common.sh
. "$(dirname "$0")/common.sh"

exits 0 spokectl down --json | holds '.data.was_running and (.data.volumes_deleted | not)'
exits 4 spokectl modules list --json | holds '.error.code == "not_running"'
exits 4 spokectl cache stats --json | holds '.error.code == "not_running"'
exits 4 spokectl metrics --json | holds '.error.code == "not_running"'
exits 3 spokectl down --volumes --json | holds '.error.code == "confirmation_required"'
exits 0 spokectl up --timeout 5m --json | holds '.status == "ok"'
exits 0 spokectl modules list --json | holds '[.data[].name] == ["payments"]'
exits 0 spokectl down --volumes --yes --json | holds '.data.was_running and .data.volumes_deleted'
exits 0 spokectl down --json | holds '.data.was_running | not'
