#!/usr/bin/env bash
# Prepare this checkout: virtual environment, extensions, hls.js and, for `test`, what the tests need from Debian.
#
#   tools/setup.sh run     what `make run` needs
#   tools/setup.sh test    the same, plus test and lint tools, ffmpeg, Chromium, OBS, other players and a virtual screen
#
# Works on a bare Debian 12 with Python 3.11. Debian packages are installed only as root or through a
# sudo that asks nothing; otherwise one line says what is missing. Safe to run again: it does only what
# is not done yet.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-run}
PYTHON=${PYTHON:-python3}
apt_updated=no

say() { printf 'setup: %s\n' "$*" >&2; }

# install_debian PACKAGE...: true when installed, false when we may not install.
install_debian() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root=(sudo -n); else return 1; fi
  fi
  command -v apt-get >/dev/null || return 1
  if [ "$apt_updated" = no ]; then
    "${as_root[@]}" apt-get update -qq >&2 || return 1
    apt_updated=yes
  fi
  say "installing from Debian: $*"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>build/apt.log ||
    { tail -n 5 build/apt.log >&2; return 1; }
}

# need COMMAND-OR-TEST PACKAGES WHY: required, or the set-up ends here.
need() {
  bash -c "$1" >/dev/null 2>&1 && return
  # shellcheck disable=SC2086  # a list of packages
  install_debian $2 && bash -c "$1" >/dev/null 2>&1 && return
  say "$3 is missing; install it (Debian: apt-get install $2) and run this again"
  exit 2
}

mkdir -p build
need "command -v $PYTHON" "python3 python3-venv python3-dev" "Python 3.11 or newer"
need "$PYTHON -c 'import sys; sys.exit(sys.version_info < (3, 11))'" "python3" "Python 3.11 or newer"
need "$PYTHON -c 'import ensurepip, venv'" "python3-venv" "Python's venv module"
need "$PYTHON -c 'import os, sysconfig; os.stat(sysconfig.get_path(\"include\") + \"/Python.h\")'" "python3-dev" "Python's C headers"
need "command -v cc" "gcc libc6-dev" "a C compiler"
need "echo '#include <openssl/ssl.h>' | cc -E -" "libssl-dev" "OpenSSL 3 with its headers"
need "command -v npm" "npm" "npm (it fetches hls.js)"

[ -x .venv/bin/python ] || { say "making .venv"; "$PYTHON" -m venv .venv; }
pip() { .venv/bin/python -m pip --disable-pip-version-check -q "$@"; }

# Each step leaves a stamp that holds what it was made from; a change of that makes it run again.
fresh() { # fresh STAMP FILES...: is the stamp made from these very bytes?
  local stamp=$1; shift
  [ "$(cat "$stamp" 2>/dev/null)" = "$(cat "$@" | sha256sum)" ]
}
seal() { local stamp=$1; shift; cat "$@" | sha256sum >"$stamp"; }

if ! fresh .venv/headrace-run pyproject.toml setup.py native/*.pyx native/*.pxd native/*.pxi; then
  say "installing Headrace and building its extensions"
  pip install -U "pip>=25.1"
  pip install --group build
  # Setuptools warns of folders named like packages; that is what a checkout is.
  PYTHONWARNINGS=ignore pip install --no-build-isolation -e .
  .venv/bin/python setup.py -q build_ext --inplace
  seal .venv/headrace-run pyproject.toml setup.py native/*.pyx native/*.pxd native/*.pxi
fi

vendor=edge/web/vendor/hls.min.js
if ! { [ -e "$vendor" ] && fresh .venv/headrace-web edge/web/package-lock.json; }; then
  say "fetching hls.js"
  (cd edge/web && npm ci --silent --no-audit --no-fund --ignore-scripts)
  mkdir -p edge/web/vendor
  cp edge/web/node_modules/hls.js/dist/hls.min.js "$vendor"
  seal .venv/headrace-web edge/web/package-lock.json
fi

[ "$purpose" = test ] || exit 0

if ! fresh .venv/headrace-test pyproject.toml; then
  say "installing test and lint tools"
  pip install --group dev
  seal .venv/headrace-test pyproject.toml
fi

if ! fresh .venv/headrace-fuzz pyproject.toml; then
  say "installing the fuzzer"
  pip install --only-binary atheris --group fuzz ||
    say "no atheris for this Python: make fuzz needs it, nothing else does"
  seal .venv/headrace-fuzz pyproject.toml
fi

players=tests/e2e/players
if ! { [ -d $players/node_modules ] && fresh .venv/headrace-players $players/package-lock.json; }; then
  say "fetching other players for the tests"
  (cd $players && npm ci --silent --no-audit --no-fund --ignore-scripts)
  seal .venv/headrace-players $players/package-lock.json
fi

declare -A package=(
  [ffmpeg]=ffmpeg [ffprobe]=ffmpeg [chromium]=chromium [obs]="obs-studio obs-plugins libgl1-mesa-dri"
  [ffplay]=ffmpeg [Xvfb]=xvfb [dbus-run-session]=dbus [curl]=curl [h2load]=nghttp2-client [mpv]=mpv
  [nginx]="nginx-light libnginx-mod-rtmp"
  [gst-launch-1.0]="gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav"
)
wanted=()
for tool in "${!package[@]}"; do
  PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || wanted+=("$tool")
done
if [ ${#wanted[@]} -gt 0 ]; then
  packages=()
  for tool in "${wanted[@]}"; do
    read -ra of_tool <<<"${package[$tool]}"
    packages+=("${of_tool[@]}")
  done
  install_debian "${packages[@]}" ||
    say "not installed: ${wanted[*]}; the end-to-end tests that need them are skipped by name (as root they would be installed)"
fi
