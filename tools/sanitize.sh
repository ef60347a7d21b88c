#!/usr/bin/env bash
# The GPU kernels' tests under compute-sanitizer: bad accesses, races, wrong barriers.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<'TEXT'
usage: tools/sanitize.sh [GTEST FILTER]

Needs a GPU and compute-sanitizer, which comes with the CUDA Toolkit. Builds as tools/gpu_tests.sh
does and runs unit_kernels_cuda under memcheck, racecheck and synccheck; minutes each.
TEXT
  exit 0
fi
filter=${1:-*}
sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [[ ! -x "$sanitizer" ]]; then
  echo "sanitize: compute-sanitizer is not here; it comes with the CUDA Toolkit" >&2
  exit 69
fi
tools/gpu_tests.sh --build-only
for tool in memcheck racecheck synccheck; do
  echo "sanitize: $tool"
  "$sanitizer" --tool "$tool" --error-exitcode 1 \
    build/cuda-release/tests/unit/kernels_cuda/unit_kernels_cuda --gtest_filter="$filter" --gtest_brief=1
done
