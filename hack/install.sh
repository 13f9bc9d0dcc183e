#!/bin/bash
# Installs what building and testing slipway needs on a bare Debian 12 with Go
# and root. What is there already is left alone, so a second run does nothing.
#
#   hack/install.sh [demo|test]     what to install for; default test
set -euo pipefail

cd "$(dirname "$0")/.."

# iptables: the portmap plugin calls it. iproute2: tests look at links.
packages=(iptables iproute2)
case ${1:-test} in
  demo) ;;
  # gcc and libc6-dev are for the race detector, nftables for the leak check,
  # which reads rule sets, shellcheck for the scripts of hack/, libseccomp-dev
  # to compare our filters with.
  test) packages+=(gcc libc6-dev libseccomp-dev nftables shellcheck) ;;
  *) echo "usage: hack/install.sh [demo|test]" >&2; exit 2 ;;
esac

updated=
update() {
  [[ $updated ]] || apt-get update -q
  updated=yes
}

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  update
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

# The test images need Debian's dynamic busybox. It is unpacked beside, not
# installed: installing it would remove a busybox-static that is there.
if [[ ${1:-test} == test && ! -x bin/deps/bin/busybox ]]; then
  update
  fresh=$(mktemp -d)
  trap 'rm -rf "$fresh"' EXIT
  chmod 755 "$fresh" # apt's own user writes there
  chown _apt "$fresh" 2>/dev/null || true
  (cd "$fresh" && apt-get download -q busybox)
  mkdir -p bin/deps
  dpkg-deb -x "$fresh"/busybox_*.deb bin/deps
fi
