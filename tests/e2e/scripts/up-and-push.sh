#!/usr/bin/env bash
# Brings the stack up, creates a module, pushes a version and pulls it again.
# shellcheck source=tests/e2e/scripts/common.sh
. "$(dirname "$0")/common.sh"

exits 4 spokectl status --json | holds '.status == "error" and (.error.code | IN("no_stack", "not_running"))'
exits 0 spokectl up --port-offset "$offset" --timeout 5m --json | holds '.status == "ok" and .error == null'
exits 0 spokectl status --json | holds '.data.services | length > 10 and all(.health | IN("healthy", "done", "left-out"))'

exits 0 spokectl modules create payments --description 'Payment messages' --json | holds '.data.name == "payments"'
exits 0 spokectl modules create payments --description 'Payment messages'
exits 1 spokectl modules create payments --description 'Other messages' --json | holds '.error.code == "conflict"'
exits 2 spokectl modules create Payments --json | holds '.error.code == "bad_name"'
exits 4 spokectl modules get nothing --json | holds '.error.code == "not_found" and .data == null'

mkdir -p "$work/protos/v1"
printf 'syntax = "proto3";\nmessage Payment {\n  string id = 1;\n}\n' >"$work/protos/v1/payment.proto"
exits 0 spokectl versions push payments v1.0.0 "$work/protos" --json | holds '.data.files == 1'
exits 0 spokectl versions pull payments v1.0.0 "$work/pulled"
diff -r "$work/protos" "$work/pulled"

printf 'syntax = "proto3";\nmessage Other {\n}\n' >"$work/other.proto"
exits 1 spokectl versions push payments v1.0.0 "$work/other.proto" --json | holds '.error.code == "conflict"'
exits 0 spokectl versions list payments --json | holds '[.data[].version] == ["v1.0.0"]'
