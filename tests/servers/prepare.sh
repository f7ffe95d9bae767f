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

# Packages of Node.js, as locked in a folder, go into a folder of .cache; what they are for, and npm's flags, come after.
node_packages() {
  from=$1 into=.cache/$2 what=$3
  shift 3
  if has npm && ! cmp -s "$from/package-lock.json" "$into/package-lock.json"; then
    say "installing $what from their lock file into $into (once)"
    rm -rf "$into"
    mkdir "$into"
    cp "$from/package.json" "$from/package-lock.json" "$into"
    (cd "$into" && npm ci --no-audit --no-fund "$@") >"$into.log" 2>&1 \
      || { rm -rf "$into"; say "that failed ($into.log): the tests that want them are skipped"; }
  fi
}

# The senders that the exporter is tried with, here and, in Rust, from PyPI; and Grafana's types, without the libraries of
# its pages, which they are peers of.
node_packages tests/interop node "the senders for Node.js"
node_packages tests/dashboards grafana "Grafana's types" --legacy-peer-deps
if [ ! -e .cache/rotel/.ready ]; then
  say "installing rotel, a collector in Rust, from PyPI into .cache/rotel (once)"
  rm -rf .cache/rotel
  { .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target .cache/rotel rotel==0.0.1a15 \
    && touch .cache/rotel/.ready; } >.cache/rotel.log 2>&1 \
    || { rm -rf .cache/rotel; say "that failed (.cache/rotel.log): the tests that want it are skipped"; }
fi

if [ "${1:-}" = --build ] && ! .venv/bin/python tests/collector/build.py --ready >/dev/null; then
  say "building the collector in the background, once, some minutes (.cache/otelcol.log)"
  .venv/bin/python tests/collector/build.py >.cache/otelcol.log 2>&1 </dev/null &
fi
