#!/usr/bin/env bash
# Builds the CUDA backend and runs the tests that need a GPU. Arguments go to ctest.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<'TEXT'
usage: tools/gpu_tests.sh [--build-only] [CTEST ARGUMENT...]

Builds program and GPU tests into build/cuda-release and runs the tests with label gpu there.
--build-only: compiles, for machines that have the CUDA Toolkit but no GPU. Without nvcc nothing is
done, and that is said.
TEXT
  exit 0
fi
build_only=no
if [[ "${1:-}" == --build-only ]]; then
  build_only=yes
  shift
fi

if ! PATH="$PATH:${CUDA_HOME:-/usr/local/cuda}/bin" command -v nvcc >/dev/null; then
  echo "gpu_tests: skipped, nvcc of the CUDA Toolkit is not here (CUDA_HOME=DIR names its folder)"
  exit 0
fi
tools/install_deps.sh
cmake --preset cuda-release -G Ninja -DTRIREME_TESTS=ON >/dev/null
cmake --build --preset cuda-release --target gpu_tests trireme
[[ $build_only == yes ]] && exit 0
exec ctest --preset cuda-release -L gpu "$@"
