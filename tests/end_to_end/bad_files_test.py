#!/usr/bin/env python3
"""Gives run and plan files that are broken, missing or in the way.

usage: bad_files_test.py TRIREME PROMPT_FILES

Each file has its error and exit code, said once; a start that failed leaves nothing behind.
"""
import json
import os
import resource
import shutil
import struct
import subprocess
import sys

from program import DATA, Program

RANKS = 2
DEMO = DATA / "demo"
GOLDEN = DATA / "goldens" / "qwen3_moe"
NOBODY = 65534

failures = []


def expect(outcome, code, *words, absent=()):
    """Notes what an outcome lacks."""
    lacks = [f"{w!r}, once" for w in words if (outcome.stderr + outcome.stdout).count(w) != 1]
    lacks += [f"no {w!r}" for w in absent if w in outcome.stderr]
    if outcome.code != code:
        lacks.append(f"exit code {code}")
    if lacks:
        failures.append(f"expected {', '.join(lacks)}\n{outcome}\n")


def rename_tensor(model, old, new):
    """Writes the safetensors file again with another name for a tensor."""
    path = model / "model.safetensors"
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = data[8:8 + size].decode().rstrip()
    assert header.count(f'"{old}"') == 1, old
    changed = header.replace(f'"{old}"', f'"{new}"').encode()
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + data[8 + size:])


def cut(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


def refused(program, code, *words, plan=True, **given):
    """run on all ranks, and plan where it can know, refuse these files and leave nothing."""
    flags = {"model": GOLDEN, "prompts": "ids.h5", "output": "results.h5", **given}
    line = [part for name, value in flags.items() if value for part in (f"--{name}", value)]
    before = program.files()
    expect(program("run", *line, ranks=RANKS), code, *words, absent=["defect"])
    if plan:
        expect(program("plan", *line, "--world", RANKS), code, *words, absent=["defect"])
    if program.files() != before:
        failures.append(f"left behind: {set(program.files()) - set(before)}\n")
        shutil.rmtree(program.folder / "results.h5.run", ignore_errors=True)


def broken_models(program):
    model = program.model("renamed", GOLDEN)
    rename_tensor(model, "model.layers.2.self_attn.q_proj.weight", "model.layers.2.self_attn.q.w")
    refused(program, 65, "model.layers.2.self_attn.q_proj.weight", model=model)

    model = program.model("truncated", GOLDEN)
    cut(model / "model.safetensors", 500000)
    refused(program, 65, "truncated/model.safetensors", model=model)

    model = program.model("beheaded", GOLDEN)
    cut(model / "model.safetensors", 100)
    refused(program, 65, "beheaded/model.safetensors", model=model)

    model = program.model("no-weights", GOLDEN)
    (model / "model.safetensors").unlink()
    refused(program, 66, "no-weights: holds neither model.safetensors nor", model=model)

    model = program.model("unknown", GOLDEN, {"architectures": ["StrangeForCausalLM"]})
    refused(program, 65, "StrangeForCausalLM", model=model)

    model = program.model("no-json", GOLDEN)
    (model / "config.json").write_text('{"architectures": [')
    refused(program, 65, "no-json/config.json", model=model)

    model = program.model("wrong-shape", GOLDEN, {"vocab_size": 500})
    refused(program, 65, "\"model.embed_tokens.weight\" has shape [512, 64], expected [500, 64]",
            model=model)

    empty = program.folder / "empty-folder"
    empty.mkdir()
    refused(program, 66, "empty-folder/config.json: No such file", model=empty)


def broken_tokenizers(program):
    texts = program.prompts("texts.h5", [{"prompt": "Hello"}])
    refused(program, 66, "tokenizer.json: No such file", "texts.h5 holds texts", prompts=texts)

    model = program.model("half-tokenizer", DEMO)
    cut(model / "tokenizer.json", 10000)
    refused(program, 65, "half-tokenizer/tokenizer.json", model=model, prompts=texts)

    model = program.model("odd-tokenizer", DEMO)
    (model / "tokenizer.json").write_text('{"model": {"type": "Crystal"}}')
    refused(program, 65, "odd-tokenizer/tokenizer.json", "Crystal", model=model, prompts=texts)

    model = program.model("odd-template", DEMO)
    (model / "chat_template.jinja").write_text("a\n{% include 'x' %}")
    chats = [{"messages": [{"role": "user", "content": "Hi"}]}]
    for prompts in (program.prompts("chats.h5", chats),
                    program.prompts("requests.h5", [{"body": body} for body in chats])):
        refused(program, 65, "odd-template/chat_template.jinja: line 2", f"{prompts} holds messages",
                model=model, prompts=prompts)
        expect(program("prompts", "tokenize", "--tokenizer", model, prompts, "never.h5"), 65,
               "odd-template/chat_template.jinja: line 2")
    # Texts do not need it.
    expect(program("plan", "--model", model, "--prompts", texts), 0, "Nothing speaks against")


def broken_prompts(program):
    refused(program, 65, "empty.h5: /prompt: holds no prompts (0 rows)", prompts="empty.h5")
    refused(program, 66, "prompts is 'absent.h5'", "No such file", prompts="absent.h5")
    lines = program.write("lines.jsonl", '{"prompt": "Hello"}\n')
    refused(program, 65, "'trireme prompts import", prompts=lines)
    cut(shutil.copy(program.folder / "golden.h5", program.folder / "cut.h5"), 3000)
    refused(program, 65, "cut.h5", prompts="cut.h5")
    # What run alone asks for.
    refused(program, 64, "--prompts is missing", plan=False, prompts="")


def outputs_in_the_way(program):
    line = ["run", "--model", GOLDEN, "--prompts", "ids.h5", "--output", "results.h5",
            "--max-tokens", 2]
    expect(program(*line, ranks=RANKS), 0, "results: results.h5")
    first = (program.folder / "results.h5").read_bytes()
    expect(program(*line, ranks=RANKS), 73, "output is 'results.h5'", "give --overwrite")
    if (program.folder / "results.h5").read_bytes() != first:
        failures.append("a refused run changed the output that was there\n")

    # A start that fails does not cost the older output, nor does it keep its run directory.
    expect(program(*line, "--overwrite", "--model", "absent", ranks=RANKS), 66, "'absent'")
    if (program.folder / "results.h5").read_bytes() != first:
        failures.append("a run that could not start removed the output that was there\n")
    expect(program(*line, "--overwrite", "--seed", 7, ranks=RANKS), 0, "results: results.h5")
    if (program.folder / "results.h5").read_bytes() == first:
        failures.append("--overwrite did not replace the output\n")

    # A run directory of a run that was stopped.
    kept = ["--output", "more.h5", "--keep-run-directory", "--record-loads", "none"]
    expect(program(*line, *kept, ranks=RANKS), 0, "results: more.h5")
    (program.folder / "more.h5").unlink()
    expect(program(*line, *kept, ranks=RANKS), 73, "more.h5.run: the run directory is there",
           "'trireme results merge more.h5.run OUT.h5'", "--overwrite", "--run-dir")
    expect(program("results", "merge", "more.h5.run", "merged.h5"), 0, "merged.h5: 3 rows, 2 ok, 1")
    expect(program(*line, *kept, "--overwrite", ranks=RANKS), 0, "results: more.h5")


def full_disks(program):
    """/dev/full stands for a disk without room."""
    for line in (["--help"], ["run", "--help"], ["prompts", "show", "ids.h5"],
                 ["plan", "--model", GOLDEN]):
        with open("/dev/full", "wb") as full:
            finished = subprocess.run([program.trireme, *line], cwd=program.folder, stdout=full,
                                      stderr=subprocess.PIPE, check=False)
        if finished.returncode != 74 or b"standard output cannot be written" not in finished.stderr:
            failures.append(f"{line} on a full disk: {finished}\n")


def damage_found_on_the_way(program):
    """A prompt file that reads well only up to a place: what was finished is kept."""
    line = ["--model", GOLDEN, "--prompts", "damaged.h5", "--max-tokens", 4]
    expect(program("run", *line, "--output", "damaged-r.h5", ranks=RANKS), 65,
           "damaged.h5: /input_ids/data: cannot read rows 5600 to 5619",
           "finished rows are kept in damaged-r.h5.run")
    expect(program("results", "merge", "damaged-r.h5.run", "rescued.h5"), 0, "rescued.h5: ",
           " 0 failed")
    expect(program("run", *line, "--output", "trial.h5", "--limit", 250, ranks=RANKS), 0,
           "rows       250 (250 ok, 0 failed)")


def too_little_memory(program):
    """Memory that is there by the numbers, but is not given: found after the run directory is made."""
    limit = 3 << 30

    def restrict():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    before = program.files()
    line = ["--model", GOLDEN, "--prompts", "ids.h5", "--output", "big.h5",
            "--set", f"kv_cache_config.host_memory_bytes={limit}"]
    if program("plan", *line).code != 0:
        print("skipped: this machine has too little memory to be refused some")
        return
    expect(program("run", *line, preexec_fn=restrict), 70, "cannot allocate",
           "lower max_num_tokens, max_batch_size or kv_cache_config.host_memory_bytes")
    if program.files() != before:
        failures.append(f"left behind: {set(program.files()) - set(before)}\n")


def read_only_folder(program):
    folder = program.folder / "read-only"
    folder.mkdir(mode=0o555)
    line = ["--model", GOLDEN, "--prompts", "ids.h5", "--output", "read-only/results.h5"]
    user = {}
    if os.geteuid() == 0:  # whom no mode stops
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        os.chmod(program.folder, 0o777)
        try:
            can_start = program("--version", **user).code == 0
        except (OSError, subprocess.SubprocessError):
            can_start = False
        if not can_start:
            print("skipped: nobody may start the program here, so no folder is read-only for it")
            return
    for command in ("plan", "run"):
        expect(program(command, *line, **user), 73, "output is 'read-only/results.h5'",
               "read-only: Permission denied")


def main():
    trireme, prompt_files = sys.argv[1:]
    with Program(trireme) as program:
        subprocess.run([prompt_files, program.folder, GOLDEN / "golden.h5"], check=True)
        json.loads((program.folder / "golden.json").read_text())
        broken_models(program)
        broken_tokenizers(program)
        broken_prompts(program)
        full_disks(program)
        outputs_in_the_way(program)
        read_only_folder(program)
        damage_found_on_the_way(program)
        too_little_memory(program)
    print("\n".join(failures))
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
