#!/bin/sh
# Builds the two Go programs of the stack from their modules: `build-go.sh FOLDER` leaves FOLDER/minio and FOLDER/otelcol.
# What is there already is not built again. The same script runs on the host and in the image's Go stage.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=$1

# MinIO's last module: since October 2025 it comes as source only, and its repository is archived.
minio=github.com/minio/minio
minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
builder_version=v0.155.0 # as otelcol.yaml

export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath ${GOFLAGS:-}"
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

build() { # PROGRAM COMMAND...
    program=$1
    shift
    if [ -x "$folder/$program" ]; then return; fi
    echo "building $program: some minutes, once" >&2
    "$@"
    mv "$work/bin/$program" "$folder/$program"
}

build_minio() {
    GOBIN="$work/bin" go install -tags kqueue \
        -ldflags "-s -w -X $minio/cmd.Version=2026-02-12T20:18:48Z -X $minio/cmd.ReleaseTag=RELEASE.2026-02-12T20-18-48Z" \
        "$minio@$minio_version"
}

build_otelcol() {
    GOBIN="$work/bin" go install "go.opentelemetry.io/collector/cmd/builder@$builder_version"
    sed "s|^dist:|dist:\n  output_path: $work/otelcol|" "$here/otelcol.yaml" >"$work/otelcol.yaml"
    "$work/bin/builder" --config "$work/otelcol.yaml" --ldflags "-s -w" >&2
    mv "$work/otelcol/otelcol" "$work/bin/otelcol"
}

build minio build_minio
build otelcol build_otelcol
