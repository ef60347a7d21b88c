#!/usr/bin/env bash
# From a bare machine to results: installs what is missing, builds, and runs a batch of prompts through
# the demonstration model on four ranks.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ "${1:-}" == --help || "${1:-}" == -h ]]; then
  cat <<'TEXT'
usage: tools/quickstart.sh

Installs what is missing (tools/install_deps.sh), builds into build/cpu-release, imports
tests/data/demo/prompts.jsonl into demo/prompts.h5 and runs it on four ranks, with expert
parallelism, through the model in tests/data/demo. Results: demo/results.h5, in part on the screen.
TEXT
  exit 0
fi

tools/install_deps.sh
echo "quickstart: building (a few minutes the first time)"
cmake --preset cpu-release -G Ninja -DTRIREME_TESTS=OFF >/dev/null
cmake --build --preset cpu-release --target trireme
trireme=build/cpu-release/trireme

mkdir -p demo
for name in prompts passages_train passages_test; do
  rm -f "demo/$name.h5"
  "$trireme" prompts import "tests/data/demo/$name.jsonl" "demo/$name.h5"
done
tools/launch.sh -n 4 "$trireme" run --config configs/moe_expert_parallel.yaml \
  --model tests/data/demo \
  --prompts demo/prompts.h5 --output demo/results.h5 --overwrite

echo
"$trireme" results show demo/results.h5 --head 6
echo
echo "All results: demo/results.h5 (build/cpu-release/trireme results show demo/results.h5)"
