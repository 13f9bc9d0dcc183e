#!/bin/bash
# Looks at the code without running it: format, vet, staticcheck, the other
# architecture, shell scripts, and the house rules. Prints one line a check.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
tools=$PWD/bin/tools
failed=0

# check NAME COMMAND...: silent when it passes, the output when it fails.
check() {
  local name=$1 out start=$SECONDS
  shift
  if out=$("$@" 2>&1); then
    printf '  ok    %-12s %3d s\n' "$name" $((SECONDS - start))
  else
    printf '  FAIL  %-12s %3d s\n%s\n' "$name" $((SECONDS - start)) "$out"
    failed=1
  fi
}

formatted() {
  local files
  files=$(git ls-files -co --exclude-standard '*.go' ':!*.pb.go' | xargs -r "$tools/gofumpt" -l)
  [[ -z $files ]] || { echo "run make fmt for:"; echo "$files"; return 1; }
}

modules() {
  local dir
  for dir in hack/tools hack/tools/cri hack/tools/cni; do
    (cd "$dir" && go mod verify) || return 1
  done
}

scripts() {
  command -v shellcheck >/dev/null || { echo "shellcheck is missing: run hack/install.sh"; return 1; }
  { git ls-files -co --exclude-standard '*.sh'; echo .ci/run; } | xargs shellcheck --severity=warning
}

check gofumpt formatted
check vet go vet ./...
check staticcheck "$tools/staticcheck" ./...
check arm64-build env GOARCH=arm64 go build ./cmd/...
check arm64-vet env GOARCH=arm64 go vet ./...
check shellcheck scripts
check modules modules
[[ ! -d test/house ]] || check house go test -count=1 ./test/house
exit "$failed"
