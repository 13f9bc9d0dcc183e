#!/bin/bash
# The Go benchmarks, and beside another CRI runtime the table of a yardstick.
#
#   hack/bench.sh
#   CRIBENCH=FILE PEER=unix://SOCKET hack/bench.sh
#
# BENCH        Go benchmarks to run, a regexp (default all), BENCHTIME how long each (1s)
# CRIBENCH     the yardstick: "FILE registry" serves test images at REGISTRY,
#              "FILE run -a A -b B" measures two runtimes by turns
# PEER         a runtime that runs; it must be able to pull from REGISTRY (127.0.0.1:5070)
# PEER_MATCH   regexp of its command lines, for memory
# BENCH_FLAGS  more for "FILE run": "-only pod,exec -n 10"
# BENCH_JSON   file for all samples
# CNI_CONF     our network configuration; ask the same of the peer (default: a bridge of our own)
# CNI_BIN      its plugins (bin/cni)
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
cd "$repo"
registry=${REGISTRY:-127.0.0.1:5070}

go test -run '^$' -bench "${BENCH:-.}" -benchtime "${BENCHTIME:-1s}" -timeout 20m ./test/bench ./sandbox ./sandbox/cgroup

[[ -n ${CRIBENCH:-} ]] || { echo "no CRIBENCH: no comparison"; exit 0; }
[[ -n ${PEER:-} ]] || { echo "bench: CRIBENCH without PEER" >&2; exit 2; }
[[ $EUID == 0 ]] || { echo "bench: the comparison needs root" >&2; exit 2; }

work=$(mktemp -d /var/tmp/slipway-bench.XXXX)
pids=()
cleanup() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  ip link del slipbench0 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

# answers HOST:PORT: somebody listens there.
answers() { (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }

if ! answers "$registry"; then
  "$CRIBENCH" registry -listen "$registry" >"$work/registry.log" 2>&1 &
  pids+=($!)
  for _ in {1..600}; do
    grep -qx ready "$work/registry.log" && break
    sleep 0.2
  done
fi

mkdir -p "$work/net.d" "$work/certs/$registry"
echo "server = \"http://$registry\"" >"$work/certs/$registry/hosts.toml"
if [[ -n ${CNI_CONF:-} ]]; then
  cp "$CNI_CONF" "$work/net.d/10-bench.conflist"
else
  cat >"$work/net.d/10-bench.conflist" <<'JSON'
{"cniVersion": "1.0.0", "name": "slipway-bench", "plugins": [
  {"type": "bridge", "bridge": "slipbench0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.212.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
fi
# A session of its own, as a daemon has: the scheduler shares out by session.
setsid bin/slipway serve --listen "unix://$work/s.sock" --root "$work/root" --state "$work/state" \
  --cni-conf-dir "$work/net.d" --cni-bin-dir "${CNI_BIN:-$repo/bin/cni}" --registry-dir "$work/certs" >"$work/slipway.log" 2>&1 &
pids+=($!)
for _ in {1..300}; do
  [[ -S $work/s.sock ]] && break
  sleep 0.1
done

flags=(-registry "$registry" -a "$PEER" -b "unix://$work/s.sock" -b-match "$work/s.sock|^slipway-keeper")
[[ -z ${PEER_MATCH:-} ]] || flags+=(-a-match "$PEER_MATCH")
[[ -z ${BENCH_JSON:-} ]] || flags+=(-json "$BENCH_JSON")
# shellcheck disable=SC2086 # several words are meant
"$CRIBENCH" run "${flags[@]}" ${BENCH_FLAGS:-} || { tail -20 "$work/slipway.log" >&2; exit 1; }
