#!/bin/sh
# Makes what the images are built on, for a machine that reaches no image registry: a Debian base from Debian's own
# archive, the two Go programs from their modules, and the Python wheels. Then it names the bases in stack/.env, where
# Compose and spokectl find them. Run again, it makes only what is missing.
#
# Needs: Debian with mmdebstrap, docker, go and python3. Slow results are kept in SPOKE_IMAGES_CACHE.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${SPOKE_IMAGES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spoke-images}
base=spoke-base:trixie
programs=$(cat "$here/build-go.sh" "$here/otelcol.yaml" | sha256sum | cut -c 1-16)
go=spoke-go:$programs
python=3.13 # trixie's

for program in mmdebstrap docker go python3; do
    command -v "$program" >/dev/null 2>&1 || { echo "local-bases: $program is not installed" >&2 && exit 5; }
done
docker version >/dev/null || { echo "local-bases: no Docker engine answers" >&2 && exit 5; }
mkdir -p "$cache"

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# Like the slim images: no manuals, no translations, no package lists.
make_base() {
    if [ ! -s "$cache/base-trixie.tar" ]; then
        echo "making $base from Debian's archive" >&2
        # shellcheck disable=SC2016 # mmdebstrap's own $1
        mmdebstrap --quiet --format=tar --variant=minbase \
            --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
            --aptopt='APT::Install-Recommends "false"' \
            --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin' \
            --customize-hook="upload $here/docker-clean /etc/apt/apt.conf.d/docker-clean" \
            trixie "$cache/base-trixie.tar.part" >&2
        mv "$cache/base-trixie.tar.part" "$cache/base-trixie.tar"
    fi
    docker import --change 'CMD ["/bin/sh"]' "$cache/base-trixie.tar" "$base" >/dev/null
}

make_go() {
    built=$cache/go-$programs
    "$here/build-go.sh" "$built"
    printf 'FROM %s\nCOPY minio otelcol /go/bin/\n' "$base" | DOCKER_BUILDKIT=0 docker build --quiet --tag "$go" --file - "$built" >/dev/null 2>&1 ||
        { echo "local-bases: the image $go cannot be made" >&2 && exit 1; }
}

# For the platform of this machine's engine. pip inside a build may reach no index: here it does.
fetch_wheels() {
    machine=$(uname -m)
    python3 -m pip --disable-pip-version-check --quiet download --dest "$here/wheels" --require-hashes --no-deps \
        --only-binary=:all: --implementation cp --python-version "$python" --abi "cp$(echo $python | tr -d .)" --abi abi3 --abi none \
        --platform "manylinux_2_28_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine" \
        --platform "manylinux_2_5_$machine" --platform "manylinux1_$machine" --platform "linux_$machine" --platform any \
        -r "$here/spoke.lock" -r "$here/nginx.lock"
}

# Keeps what else stands in the file.
name_bases() {
    file=$here/../.env
    touch "$file"
    { grep -Ev '^SPOKE_(BASE|GO)_IMAGE=' "$file" || true; } >"$file.new"
    printf 'SPOKE_BASE_IMAGE=%s\nSPOKE_GO_IMAGE=%s\n' "$base" "$go" >>"$file.new"
    mv "$file.new" "$file"
}

has_image "$base" || make_base
has_image "$go" || make_go
fetch_wheels
name_bases
