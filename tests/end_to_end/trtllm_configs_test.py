#!/usr/bin/env python3
"""Runs configuration files as TensorRT-LLM's users write them, on 8 ranks, as they are.

usage: trtllm_configs_test.py TRIREME PROMPT_FILES

Every layout must give the tokens that one rank gives, which are those of transformers.
"""
import json
import subprocess
import sys

from program import DATA, Program, chosen_ids

RANKS = 8
MODEL = DATA / "goldens" / "qwen3_moe"  # 8 heads, 2 of keys and values, 16 experts

# name -> the file, and how many of its lines have no meaning here.
CONFIGS = {
    "TP-8": ("""
# TP-8
tensor_parallel_size: 8
enable_attention_dp: false    # default
""", 0),
    "DP-8": ("""
# DP-8
tensor_parallel_size: 8
enable_attention_dp: true
""", 0),
    "TP only": ("""
# TP only
tensor_parallel_size: 8
moe_tensor_parallel_size: 8
""", 0),
    "EP only": ("""
# EP only
tensor_parallel_size: 8
moe_expert_parallel_size: 8
""", 0),
    "hybrid": ("""
# Hybrid (TP-4 x EP-2)
tensor_parallel_size: 8      # 4 x 2
moe_tensor_parallel_size: 4
moe_expert_parallel_size: 2
""", 0),
    "attention DP and experts": ("""
backend: pytorch
tensor_parallel_size: 8
pipeline_parallel_size: 1
moe_expert_parallel_size: 8
enable_attention_dp: true
attention_dp_config:
  enable_balance: true
  batching_wait_iters: 50
  timeout_iters: 1
max_batch_size: 64
max_num_tokens: 512
max_seq_len: 512
cuda_graph_config:
  enable_padding: true
  batch_sizes:
    - 1
    - 2
    - 4
print_iter_log: true
stream_interval: 10
kv_cache_config:
  enable_block_reuse: false
  free_gpu_memory_fraction: 0.8
  dtype: auto
moe_config:
  backend: CUTLASS
  max_num_tokens: 256
enable_chunked_prefill: true
disable_overlap_scheduler: false
trust_remote_code: true
gpus_per_node: 8
allreduce_strategy: AUTO
scheduler_config:
  capacity_scheduler_policy: MAX_UTILIZATION
max_beam_width: 1
""", 12),
    "stages": ("""
tensor_parallel_size: 4
pipeline_parallel_size: 2
pp_partition: [3, 1]
moe_tensor_parallel_size: 2
moe_expert_parallel_size: 2
cuda_graph_config: null
""", 1),
}


def tokens(program, name, config, ranks):
    """The tokens of the golden's prompts, and what the run said."""
    program.write("parallel_config.yaml", config)
    output = f"{name.replace(' ', '-')}.h5"
    outcome = program("run", "--config", "parallel_config.yaml", "--model", MODEL, "--prompts",
                      "golden.h5", "--output", output, "--logprobs", "true", ranks=ranks)
    if outcome.code != 0:
        return None, outcome
    results = program.results(output)
    return [chosen_ids(results[str(row)]) for row in range(len(results))], outcome


def main():
    trireme, prompt_files = sys.argv[1:]
    num_failures = 0
    with Program(trireme) as program:
        subprocess.run([prompt_files, program.folder, MODEL / "golden.h5"], check=True)
        expected = json.loads((program.folder / "golden.json").read_text())
        cases = {"one rank": ("seed: 0", 0, 1)}
        cases.update({name: (*case, RANKS) for name, case in CONFIGS.items()})
        for name, (config, num_ignored, ranks) in cases.items():
            got, outcome = tokens(program, name, config, ranks)
            ignored = outcome.stderr.count("has no meaning here and is ignored")
            good = got == expected and ignored == num_ignored
            print(f"{name}: {'ok' if good else 'FAILED'}", flush=True)
            if not good:
                num_failures += 1
                print(f"{config}\n{outcome}\n{ignored} keys ignored, expected {num_ignored}\n"
                      f"tokens {got}\nexpected {expected}\n")
    print(f"{num_failures} failures")
    return 1 if num_failures else 0


if __name__ == "__main__":
    sys.exit(main())
