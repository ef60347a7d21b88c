#!/bin/bash
# The engine beside llama.cpp on the same weights and machine, in turn; medians of tokens per second.
#
# usage: compare_llama_cpp.sh ENGINE_BENCH MODEL_DIR LLAMA_BIN_DIR MODEL.gguf [ROUNDS [THREADS...]]
#   LLAMA_BIN_DIR  holds llama-bench and llama-batched-bench, built for this processor
#   MODEL.gguf     the weights of MODEL_DIR in bfloat16
#   ROUNDS         5; THREADS 1 2
# SET=avx2 in the environment keeps ENGINE_BENCH to that instruction set, beside a llama.cpp built for
# no more.
# The machine should be idle: both sides are timed by the clock on the wall.
set -euo pipefail

if [ $# -lt 4 ]; then
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 64
fi
engine_bench=$1 model_dir=$2 llama=$3 gguf=$4
rounds=${5:-5}
shift $(($# < 5 ? $# : 5))
threads=("${@:-1 2}")
read -ra threads <<<"${threads[*]}"
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# Each prints lines "CASE SIDE TOKENS_PER_SECOND".
ours() {
  "$engine_bench" "$model_dir" "threads=$1" dtypes=float32,bfloat16 rounds=1 bounds=no \
    ${SET:+"set=$SET"} |
    awk '$3 == "float32" || $3 == "bfloat16" { print $1, $3, $4 }'
}

llama_single() {
  "$llama/llama-bench" -m "$gguf" -t "$1" -r 1 -p 512 -n 0 -o csv 2>/dev/null |
    awk -F'","' 'END { print "long_prompt llama.cpp", $(NF - 1) }'
  "$llama/llama-bench" -m "$gguf" -t "$1" -r 1 -p 0 -n 128 -d 128 -o csv 2>/dev/null |
    awk -F'","' 'END { print "one_output llama.cpp", $(NF - 1) }'
}

llama_together() {
  "$llama/llama-batched-bench" -m "$gguf" -t "$1" -c 8192 -npp 128 -ntg 64 -npl 32 2>/dev/null |
    awk -F'|' '$2 ~ /^ +[0-9]+ $/ {
      print "many_prompt llama.cpp", $7
      print "many_output llama.cpp", $9
      print "many_all llama.cpp", $11
    }'
}

median() {
  awk -v name="$1" -v side="$2" '$1 == name && $2 == side { print $3 }' "$results" | sort -n |
    awk '{ values[NR] = $1 } END { print values[int((NR + 1) / 2)] }'
}

printf '%-12s %7s %10s %10s %10s %14s %14s\n' case threads llama.cpp float32 bfloat16 \
  f32/llama.cpp bf16/llama.cpp
for count in "${threads[@]}"; do
  : >"$results"
  for ((round = 0; round < rounds; ++round)); do
    ours "$count" >>"$results"
    llama_single "$count" >>"$results"
    llama_together "$count" >>"$results"
  done
  for name in long_prompt one_output many_prompt many_output many_all; do
    awk -v name="$name" -v count="$count" -v peer="$(median "$name" llama.cpp)" \
      -v f32="$(median "$name" float32)" -v bf16="$(median "$name" bfloat16)" 'BEGIN {
        printf "%-12s %7d %10.1f %10.1f %10.1f %14.2f %14.2f\n", name, count, peer, f32, bf16,
          f32 / peer, bf16 / peer
      }'
  done
done
