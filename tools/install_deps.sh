#!/usr/bin/env bash
# Installs what trireme is built with, on Debian 12 and Ubuntu 24.04. Does nothing, and needs neither
# root nor network, where all of it is there already.
set -euo pipefail

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<'TEXT'
usage: tools/install_deps.sh

Installs the packages that trireme needs: compiler, CMake, Open MPI, HDF5, Boost.ProgramOptions,
yaml-cpp, nlohmann-json, oneDNN, PCRE2, ICU, GoogleTest. As root, or with sudo where it is there.
TEXT
  exit 0
fi

packages=(
  g++ cmake ninja-build python3
  libopenmpi-dev openmpi-bin
  libhdf5-dev libboost-program-options-dev libyaml-cpp-dev nlohmann-json3-dev
  libdnnl-dev libpcre2-dev libicu-dev
  libgtest-dev
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ "$status" == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "install_deps: everything is there"
  exit 0
fi

if ! command -v apt-get >/dev/null; then
  echo "install_deps: missing: ${missing[*]}; this script knows Debian and Ubuntu (apt-get) only:" \
    "install the like of these by your system's means" >&2
  exit 69
fi
as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "install_deps: missing: ${missing[*]}; run as root: apt-get install ${missing[*]}" >&2
    exit 77
  fi
  as_root=(sudo)
fi

echo "install_deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
