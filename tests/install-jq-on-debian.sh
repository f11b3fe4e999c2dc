#!/bin/sh
# Installs Debian's jq, by which the end-to-end scripts read JSON. Needs root. Run again, it does nothing.
set -eu

# Where this runs in CI nobody answers questions.
export DEBIAN_FRONTEND=noninteractive
! command -v jq >/dev/null 2>&1 || exit 0
[ "$(id -u)" -eq 0 ] || { echo "install-jq-on-debian: run it as root: sudo $0" >&2 && exit 5; }
apt-get -qq update
apt-get install -y -qq --no-install-recommends jq >/dev/null
