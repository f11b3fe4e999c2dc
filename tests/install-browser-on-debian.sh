#!/bin/sh
# Installs Debian's Chromium, in which the page of a drill is tested, and a font for it. Needs root. Run again, it does nothing.
set -eu

# Where this runs in CI nobody answers questions.
export DEBIAN_FRONTEND=noninteractive
! command -v chromium >/dev/null 2>&1 || exit 0
[ "$(id -u)" -eq 0 ] || { echo "install-browser-on-debian: run it as root: sudo $0" >&2 && exit 5; }
apt-get -qq update
apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
