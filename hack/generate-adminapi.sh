#!/bin/sh
# Generates the Go code of server/adminapi from its admin.proto.
# Needs protoc (Debian: protobuf-compiler). The code is committed, so only
# someone who changes the .proto runs this.
set -eu
cd "$(dirname "$0")/.."

command -v protoc >/dev/null || {
	echo "protoc is missing: apt-get install protobuf-compiler" >&2
	exit 1
}

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$bin go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

PATH=$bin:$PATH protoc --proto_path=server/adminapi \
	--go_out=server/adminapi --go_opt=paths=source_relative \
	--go-grpc_out=server/adminapi --go-grpc_opt=paths=source_relative \
	admin.proto
