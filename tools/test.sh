#!/usr/bin/env bash
# Builds everything and runs all tests. Arguments go to ctest, such as -L unit or -R golden.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<'TEXT'
usage: tools/test.sh [CTEST ARGUMENT...]

Installs what is missing (tools/install_deps.sh), builds program and tests into build/cpu-release
and runs ctest there. tools/test.sh -L unit runs the tests that start no ranks.
TEXT
  exit 0
fi

tools/install_deps.sh
cmake --preset cpu-release -G Ninja -DTRIREME_TESTS=ON >/dev/null
cmake --build --preset cpu-release
exec ctest --preset cpu-release "$@"
