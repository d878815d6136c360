#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# generate.sh FILE.proto: regenerates the Go code of a protobuf file beside it.
# Needs protoc; the plugins are pinned here and come through the Go module
# proxy. Called by the go:generate line of each API package, in its directory.
set -eu
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11
GOBIN=$bin go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

# From the root of the module, so that the file's registered name is its path
# there and cannot collide with another module's file of the same base name.
root=$(dirname "$(go env GOMOD)")
dir=${PWD#"$root"/}
cd "$root"
PATH=$bin:$PATH protoc -I . --go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative "$dir/$1"

# Without the line that names the protoc of whoever ran this, the output
# depends on the pinned plugins alone.
sed -i '/^\/\/ \(- \|\t\)protoc  *v/d' "$dir"/*.pb.go
