#!/bin/bash
# Runs every fuzz target of the repository for a while, one after the other.
#
#   hack/fuzz.sh [TIME]      for each target; default 30s
set -euo pipefail

cd "$(dirname "$0")/.."
time=${1:-30s}
count=0
while IFS=: read -r file name; do
  echo "fuzz ./$(dirname "$file") $name"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "./$(dirname "$file")"
  count=$((count + 1))
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs -r grep -oHE '^func Fuzz[A-Za-z0-9_]+' | sed 's/:func /:/')
echo "fuzz: $count targets, $time each, no failure"
