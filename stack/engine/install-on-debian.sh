#!/bin/sh
# Installs a Docker engine and Compose v2 on Debian 12 or 13 from Debian's own packages, and starts the engine when none
# answers. Needs root. Run again, it does only what is missing. `docker compose` and `docker-compose` are the same program.
set -eu

compose_plugins=/usr/local/lib/docker/cli-plugins
log=/var/log/dockerd.log

# Where this runs in CI nobody answers questions.
export DEBIAN_FRONTEND=noninteractive
[ "$(id -u)" -eq 0 ] || { echo "install-on-debian: run it as root: sudo $0" >&2 && exit 5; }

has() { command -v "$1" >/dev/null 2>&1; }

packages_missing() {
    for program in dockerd docker mmdebstrap iptables; do
        has "$program" || return 0
    done
    return 1
}

# Debian 12 has only Compose v1, whose file format is another. Debian 13's package runs on it: a static program.
install_compose() {
    if apt-cache madison docker-compose | awk '{ print $3 }' | grep -q '^2'; then
        apt-get install -y -qq docker-compose >/dev/null
        return
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/lists/partial" "$work/sources"
    chown -R _apt "$work" # apt downloads as this user
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    for source in /etc/apt/sources.list /etc/apt/sources.list.d/debian.*; do
        [ -s "$source" ] && sed "s/$release/trixie/g" "$source" >"$work/sources/$(basename "$source" | sed 's/^sources.list$/debian.list/')"
    done
    trixie="-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=$work/sources -o Dir::State::Lists=$work/lists"
    # shellcheck disable=SC2086 # options
    (cd "$work" && apt-get $trixie -qq update && apt-get $trixie -qq download docker-compose)
    dpkg-deb -x "$work"/docker-compose_*.deb "$work/files"
    install -D "$work/files/usr/libexec/docker/cli-plugins/docker-compose" "$compose_plugins/docker-compose"
}

start_engine() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker
    else
        setsid nohup dockerd >>"$log" 2>&1 </dev/null &
    fi
    tries=300
    until docker version >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { { tail -n 20 "$log" >&2 || :; } && echo "install-on-debian: the engine does not answer" >&2 && exit 1; }
        sleep 0.2
    done
}

if packages_missing || ! docker compose version >/dev/null 2>&1; then
    apt-get -qq update
fi
if packages_missing; then
    apt-get install -y -qq docker.io iptables mmdebstrap >/dev/null
fi
docker compose version >/dev/null 2>&1 || install_compose
if ! has docker-compose; then
    for plugins in "$compose_plugins" /usr/libexec/docker/cli-plugins; do
        [ ! -x "$plugins/docker-compose" ] || ln -sf "$plugins/docker-compose" /usr/local/bin/docker-compose
    done
fi
docker version >/dev/null 2>&1 || start_engine
