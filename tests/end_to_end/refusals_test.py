#!/usr/bin/env python3
"""Breaks every rule of a configuration once: plan and run must refuse it, alike and at once.

usage: refusals_test.py TRIREME

A refusal has the rule's exit code, names key, value and expectation, once however many ranks there
are, and leaves nothing behind. plan is shown every way to break a rule, run one of them, and all of
those that concern files.
"""
import os
import sys

from program import DATA, Program

RANKS = 2
QWEN3_MOE = DATA / "goldens" / "qwen3_moe"
LLAMA = DATA / "goldens" / "llama"
FILE_RULES = {16, 17}


class Rule:
    """One broken configuration.

    rule     its number in the list of rules, for the report
    config   YAML text
    expected words that the message must hold
    code     of the exit
    model    folder, or (source, changes of config.json)
    flags    more of the command line
    world    what plan is told; the ranks of run without it
    command  "both", or the one that must refuse while the other has no reason to
    """

    def __init__(self, rule, config, *expected, code=78, model=QWEN3_MOE, flags=(), world=RANKS,
                 command="both", environment=None):
        self.rule, self.config, self.expected, self.code = rule, config, expected, code
        self.model, self.flags, self.world, self.command = model, flags, world, command
        self.environment = environment


def moe(**change):
    return (QWEN3_MOE, change)


def dense(**change):
    return (LLAMA, change)


def placed(experts, layers=4):
    """A placement that holds the same experts in every layer."""
    slots = list(experts)
    assignments = ", ".join(f"{layer}: {slots}" for layer in range(layers))
    return ("moe_config: {load_balancer: {num_slots: %d, initial_global_assignments: {%s}}}"
            % (len(slots), assignments))


PLACEMENT = "num_slots: 16\ninitial_global_assignments:\n" + "".join(
    f"  {layer}: {list(range(16))}\n" for layer in range(4))

RULES = [
    Rule(1, "tensor_parallel_size: 4", "tensor_parallel_size 4 x", "is 4", "a divisor of the job's 2"),
    Rule(1, "data_parallel_size: 1", "data_parallel_size 1 is 1", "expected the job's 2 ranks"),
    Rule(2, "tensor_parallel_size: 0", "tensor_parallel_size is '0'", "whole number from 1", "line 1"),
    Rule(2, "seed: 18446744073709551616", "seed is '18446744073709551616'", "from 0 to"),
    Rule(3, "tensor_parallel_size: 2\nmoe_tensor_parallel_size: 2\nmoe_expert_parallel_size: 2",
         "moe_tensor_parallel_size 2 x moe_expert_parallel_size 2 is 4",
         "expected tensor_parallel_size 2"),
    Rule(4, "tensor_parallel_size: 2", "tensor_parallel_size is 2",
         "a divisor of the model's num_attention_heads, which is 9",
         model=dense(num_attention_heads=9, num_key_value_heads=1)),
    Rule(5, "tensor_parallel_size: 2", "tensor_parallel_size is 2",
         "a divisor or a multiple of the model's num_key_value_heads, which is 3",
         model=dense(num_attention_heads=6, num_key_value_heads=3)),
    Rule(6, "tensor_parallel_size: 2", "moe_tensor_parallel_size is 2",
         "a divisor of the model's moe_intermediate_size, which is 33",
         model=moe(moe_intermediate_size=33)),
    Rule(6, "tensor_parallel_size: 2", "tensor_parallel_size is 2",
         "a divisor of the model's intermediate_size, which is 353",
         model=dense(intermediate_size=353)),
    Rule(7, "tensor_parallel_size: 2\nmoe_expert_parallel_size: 2", "moe_expert_parallel_size is 2",
         "a divisor of the model's num_experts, which is 15", model=moe(num_local_experts=15)),
    Rule(8, "tensor_parallel_size: 2\nmoe_expert_parallel_size: 2", "moe_expert_parallel_size is 2",
         "LlamaForCausalLM has no experts", model=LLAMA),
    Rule(8, "tensor_parallel_size: 2\nmoe_tensor_parallel_size: 2", "moe_tensor_parallel_size is 2",
         "LlamaForCausalLM has no experts", model=LLAMA),
    Rule(9, "pipeline_parallel_size: 2", "pipeline_parallel_size is 2",
         "at most the model's num_hidden_layers, which is 1", model=dense(num_hidden_layers=1)),
    Rule(9, "pipeline_parallel_size: 2\npipeline_layers: [1, 2]", "pipeline_layers is [1, 2]",
         "with the sum 4"),
    Rule(9, "pipeline_parallel_size: 2\npipeline_layers: [4, 0]", "pipeline_layers is ['4', '0']",
         "a list of whole numbers from 1, such as [3, 2]"),
    Rule(9, "pipeline_parallel_size: 2\npp_partition: [2, 1, 1]", "pipeline_layers is [2,1,1]",
         "an entry for each stage", "pipeline_parallel_size is 2"),
    Rule(10, "cp_config: {cp_type: spiral}", "cp_config.cp_type is 'spiral'", "ring, ulysses or helix"),
    Rule(10, "context_parallel_size: 2", "context_parallel_size is 2", "expected 1",
         "context parallelism is not in this build"),
    Rule(11, "max_seq_len: 1000", "max_seq_len is 1000", "2 to 512, the model's positions"),
    Rule(11, "max_seq_len: 1", "max_seq_len is '1'", "whole number from 2"),
    Rule(11, "max_num_tokens: 0", "max_num_tokens is '0'", "whole number from 1"),
    Rule(11, "enable_chunked_prefill: false\nmax_num_tokens: 256", "max_num_tokens is 256",
         "at least max_seq_len, which is 512", "enable_chunked_prefill is false"),
    Rule(11, "max_batch_size: 0", "max_batch_size is '0'", "whole number from 1"),
    Rule(11, "max_num_tokens: 32", "max_num_tokens is 32", "at least max_batch_size, which is 64"),
    Rule(12, "kv_cache_config: {tokens_per_block: 12}", "kv_cache_config.tokens_per_block is '12'",
         "a power of two from 8 to 256"),
    Rule(12, "kv_cache_config: {free_gpu_memory_fraction: 1.5}",
         "kv_cache_config.free_gpu_memory_fraction is '1.5'", "above 0, at most 1"),
    Rule(12, "kv_cache_config: {host_memory_bytes: 256 KiB}", "max_seq_len is 512",
         "expected at most 256", "kv_cache_config.host_memory_bytes"),
    Rule(13, "dtype: float8", "dtype is 'float8'", "float32, bfloat16 or float16"),
    Rule(13, "device: tpu", "device is 'tpu'", "auto, cpu or cuda"),
    Rule(13, "comm: smoke", "comm is 'smoke'", "auto, mpi, nccl or peer"),
    Rule(13, "device: cpu\ncomm: nccl", "comm is 'nccl'", "expected mpi, since device is cpu"),
    Rule(14, "kv_cache_config: {host_memory_bytes: 512 TiB}", "a rank needs 512.1 TiB", "KV 512 TiB",
         "expected at most its memory of", "lower", "kv_cache_config.host_memory_bytes"),
    Rule(15, "temperature: 0.001\ntop_p: 0\nmin_p: 2\ntop_k: -1\nn: 257\nlogprobs: 21\n"
         "max_tokens: -1\nrepetition_penalty: 0\npresence_penalty: 3\nstop: ['']", "10 errors",
         "temperature is '0.001', expected 0 (greedy) or a number from 0.01",
         "top_p is '0', expected a number above 0, at most 1",
         "min_p is '2', expected a number from 0 to 1", "top_k is '-1', expected a whole number from 0",
         "n is '257', expected a whole number from 1 to 256",
         "logprobs is '21', expected true, false or a whole number from 0 to 20",
         "max_tokens is '-1', expected a whole number from 0",
         "repetition_penalty is '0', expected a number above 0",
         "presence_penalty is '3', expected a number from -2 to 2",
         "stop is [the string ''], expected up to 64 strings, none empty", "line 10"),
    Rule(15, "max_tokens: 4\nmin_tokens: 5", "min_tokens is 5", "expected at most max_tokens, which is 4"),
    Rule(16, "", "model is 'absent', expected a folder with config.json",
         "absent/config.json: No such file", code=66, model="absent"),
    Rule(16, "", "prompts is 'absent.h5', expected an HDF5 file", "No such file", code=66,
         flags=("--prompts", "absent.h5")),
    Rule(16, "", "--config absent.yaml", "No such file", code=66, flags=("--config", "absent.yaml")),
    Rule(16, "", "--config pipe: is not a regular file", code=66, flags=("--config", "pipe")),
    Rule(17, "", "output is 'prompts.h5'", "another file than the prompts", code=73,
         flags=("--output", "prompts.h5")),
    Rule(17, "", "output is 'there.h5'", "expected a new file", "--overwrite", code=73,
         flags=("--output", "there.h5")),
    Rule(17, "", "output is 'there'", "a file name", "folder", code=73,
         flags=("--output", "there", "--overwrite")),
    *(Rule(17, "", "output is 'pipe'", "is not a regular file", code=73,
           flags=("--output", "pipe", *more)) for more in ((), ("--overwrite",))),
    Rule(17, "", "output is 'weights-link'", "another file than the model's 'model.safetensors'",
         code=73, flags=("--output", "weights-link", "--overwrite")),
    Rule(17, "", "output is 'config.yaml'", "another file than the configuration", code=73,
         flags=("--output", "config.yaml", "--overwrite")),
    Rule(17, "moe_config: {load_balancer: placement.yaml}", "output is 'placement-link'",
         "another file than the placement of the experts", code=73,
         flags=("--output", "placement-link", "--overwrite")),
    Rule(17, "", "record_loads is 'weights-link'", "another file than the model's", code=73,
         flags=("--record-loads", "weights-link", "--overwrite")),
    Rule(17, "", "record_loads is 'prompts.h5'", "another file than the prompts", code=73,
         flags=("--record-loads", "prompts.h5", "--overwrite")),
    Rule(17, "", "output is 'absent/results.h5'", "in a folder that is there; absent: No such file",
         code=73,
         flags=("--output", "absent/results.h5")),
    Rule(17, "", "output is 'there.h5/results.h5'", "and there.h5 is a file", code=73,
         flags=("--output", "there.h5/results.h5")),
    Rule(17, "", "there: the run directory is there already", "trireme results merge there OUT.h5",
         "--overwrite", "--run-dir", code=73, flags=("--run-dir", "there")),
    Rule(17, "", "run_dir is 'there'", "holds other files, such as 'mine.txt'", code=73,
         flags=("--run-dir", "there", "--overwrite")),
    Rule(18, placed([0] * 16), "layer 0 has no slot for expert 1 (and 14 more in this layer)"),
    Rule(18, placed([*range(15), 16]), "layer 0 slot 15 holds expert 16, expected 0 to 15"),
    Rule(18, placed(range(16), layers=3), "layer 3 is not there"),
    Rule(18, placed(range(16), layers=5), "layer 4 is there, the model has no experts in it"),
    Rule(18, placed(range(8)), "num_slots is 8, expected at least 16"),
    Rule(18, "tensor_parallel_size: 2\nmoe_expert_parallel_size: 2\n" + placed([*range(16), 0]),
         "num_slots is 17, expected a multiple of 2, the expert parallel size"),
    Rule(18, placed(range(16)), "moe_config.load_balancer", "expected none",
         "LlamaForCausalLM has no experts", model=LLAMA),
    Rule(18, "moe_config: {load_balancer: absent.yaml}", "absent.yaml", "No such file", code=66),
    Rule(18, "moe_config: {load_balancer: config.yaml}", "config.yaml line 1: unknown key 'moe_config'",
         code=65),
    Rule(19, "seed: 1\n---\nseed: 2", "config.yaml line 2", "a second document, expected one"),
    Rule(19, "- seed: 1", "config.yaml", "no map at the top"),
    Rule(19, "seed: &one 1\nn: *one", "config.yaml line 1", "anchor or alias"),
    Rule(19, "stop: " + "[" * 65 + "]" * 65, "config.yaml line 1", "nested deeper than 64 levels"),
    Rule(19, "# " + "x" * (1 << 20), "config.yaml", "expected at most 1048576 bytes"),
    Rule(19, "n: 'two'", "n is the string 'two'", "whole number", "line 1"),
    Rule(19, "n: two", "n is 'two'", "whole number", "line 1"),
    Rule(19, "enable_attention_dp: 1", "enable_attention_dp is '1'", "true or false"),
    Rule(19, "model: 7", "model is '7'", "a folder (text, in quotes)"),
    Rule(20, "", "SLURM_STEP_NUM_TASKS is 8", "expected",
         environment={"SLURM_STEP_NUM_TASKS": "8"}),
    Rule(20, "", "PMI_SIZE is 8", "expected", environment={"PMI_SIZE": "8"}),
    # Beside the rules: keys that nobody knows, or twice, all at once.
    Rule("keys", "tensor_paralel_size: 2\nseed: 1\nseed: 2\nkv_cache_config: 3", "3 errors",
         "'tensor_paralel_size', expected tensor_parallel_size?", "line 1",
         "seed stands twice", "lines 2 and 3", "kv_cache_config is not a map"),
    # What only one of the two can know.
    Rule(13, "device: cuda", "device is 'cuda'", "--device cpu", command="run"),
    Rule(14, "", "a rank needs", "expected at most its memory of 1 MiB", command="plan",
         flags=("--device-memory", "1 MiB")),
]


class Check:
    """Counts the refusals that lack something and prints them with what they lack."""

    def __init__(self, program):
        self.program = program
        self.num_failures = 0

    def refusal(self, name, outcome, rule, files_before):
        lacks = [f"{words!r}, once" for words in rule.expected if outcome.stderr.count(words) != 1]
        if outcome.code != rule.code:
            lacks.append(f"exit code {rule.code}")
        if outcome.stdout or "defect" in outcome.stderr:
            lacks.append("the form of a refusal")
        if self.program.files() != files_before:
            lacks.append(f"nothing left behind, there is {self.program.files()}")
        if lacks:
            self.num_failures += 1
            print(f"FAILED: {name}, expected {', '.join(lacks)}\n{outcome}\n", flush=True)


def command_line(program, rule, number):
    """The flags of a broken configuration, its files written."""
    model = rule.model
    if isinstance(model, tuple):
        model = program.model(f"model-{number}", *model)
    program.write("config.yaml", (rule.config or "seed: 0") + "\n")
    given = {"--config": "config.yaml", "--model": model, "--prompts": "prompts.h5",
             "--output": "results.h5"}
    if rule.config.startswith("model:"):
        del given["--model"]
    flags = list(rule.flags)
    line = [part for flag, value in given.items() if flag not in flags for part in (flag, value)]
    return line + flags


def main():
    with Program(sys.argv[1]) as program:
        check = Check(program)
        program.prompts("prompts.h5", [{"prompt": [5, 6, 7], "max_tokens": 2}])
        program.write("there.h5", "")
        (program.folder / "there").mkdir()
        program.write("there/mine.txt", "")
        os.mkfifo(program.folder / "pipe")
        (program.folder / "weights-link").symlink_to(QWEN3_MOE / "model.safetensors")
        program.write("placement.yaml", PLACEMENT)
        os.link(program.folder / "placement.yaml", program.folder / "placement-link")
        shown_to_run = set()
        for number, rule in enumerate(RULES):
            line = command_line(program, rule, number)
            before = program.files()
            name = f"rule {rule.rule} ({rule.config.splitlines()[0] if rule.config else line})"
            if rule.command != "run":
                outcome = program("plan", *line, "--world", rule.world, environment=rule.environment)
                check.refusal(f"plan, {name}", outcome, rule, before)
            is_new = rule.rule not in shown_to_run or rule.rule in FILE_RULES
            if rule.command == "run" or (rule.command == "both" and is_new):
                shown_to_run.add(rule.rule)
                outcome = program("run", *line, ranks=RANKS, environment=rule.environment)
                check.refusal(f"run, {name}", outcome, rule, before)
        print(f"{len(RULES)} broken configurations, {check.num_failures} failures")
        return 1 if check.num_failures else 0


if __name__ == "__main__":
    sys.exit(main())
