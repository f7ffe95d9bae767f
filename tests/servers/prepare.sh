#!/bin/sh
# Bring the real servers that the tests run against. As root on Debian or Ubuntu, what is missing is installed; elsewhere it
# is named, and the tests that want it are skipped. With --build, a collector that was never built here starts being built in
# the background. When all is there, this says nothing and takes no time.
set -eu
cd "$(dirname "$0")/../.."

say() { echo "· $*" >&2; }
has() { command -v "$1" >/dev/null; }

packages=
has prometheus || packages="$packages prometheus"
has prometheus-alertmanager || has alertmanager || packages="$packages prometheus-alertmanager"
has initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages="$packages postgresql"

# Packages start their services when they are installed. A policy forbids it meanwhile: the tests start their own, on free
# ports, and a start that fails would fail the installation.
install_packages() (
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q -o DPkg::Lock::Timeout=300 update
  apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $packages
)

mkdir -p .cache
if [ -n "$packages" ]; then
  if [ "$(id -u)" -eq 0 ] && has apt-get; then
    say "installing with apt-get (once):$packages"
    install_packages >.cache/servers.log 2>&1 || { tail -n 20 .cache/servers.log >&2; say "apt-get failed"; }
  else
    say "missing:$packages; the tests that want them are skipped (Debian: apt-get install$packages)"
  fi
fi

if [ "${1:-}" = --build ] && ! .venv/bin/python tests/collector/build.py --ready >/dev/null; then
  say "building the collector in the background, once, some minutes (.cache/otelcol.log)"
  .venv/bin/python tests/collector/build.py >.cache/otelcol.log 2>&1 </dev/null &
fi
