#!/bin/sh
# Writes the data directory of the present version as a fixture: tests/compat/<version>/, each file by itself in gzip.
# Run it once for each release, and never again for the same: what a version wrote does not change.
set -eu
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
target="$PWD/tests/compat/$version"
if [ -e "$target" ]; then
    echo "$target is there already" >&2
    exit 1
fi
OBSERVATORY_COMPAT_WRITE="$target" cargo test --test it compat::a_directory_as_this_version_writes_it
du -sh "$target"
