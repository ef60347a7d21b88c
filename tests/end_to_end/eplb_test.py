#!/usr/bin/env python3
"""Plans, shows and converts placements of experts, and gives eplb what it must refuse.

usage: eplb_test.py TRIREME EPLB_LOADS
"""
import json
import os
import re
import struct
import subprocess
import sys
import xml.dom.minidom

from program import Program

RANKS = 4
SLOTS = 12
EXPERTS = 8
LAYERS = [1, 2, 4]

failures = []


def check(holds, what, outcome=""):
    if not holds:
        failures.append(f"{what}\n{outcome}\n")


def slots_of(path):
    """The slots of each layer in TensorRT-LLM's YAML, read without any of our code."""
    found = re.findall(r"^  (\d+): \[([\d, ]+)\]$", path.read_text(), re.MULTILINE)
    return {int(layer): [int(e) for e in experts.split(",")] for layer, experts in found}


def fact(path, name):
    return re.search(rf"^#\| {name}: (.*)$", path.read_text(), re.MULTILINE).group(1)


def rows_of(outcome):
    """The lines of a table by layer: lists of numbers."""
    lines = re.findall(r"^ *(\d+(?:  +[\d.]+)+)$", outcome.stdout, re.MULTILINE)
    return {int(row[0]): [float(n) for n in row[1:]] for row in (line.split() for line in lines)}


def plans(program):
    line = ["eplb", "plan", "--loads", "loads.h5", "--num-slots", SLOTS, "--ep-size", RANKS]
    outcome = program(*line, "--output", "placement.yaml")
    check(outcome.code == 0 and "placement: placement.yaml" in outcome.stdout, "plans", outcome)
    slots = slots_of(program.folder / "placement.yaml")
    check(list(slots) == LAYERS, "places every layer", slots)
    for layer, experts in slots.items():
        check(len(experts) == SLOTS and set(experts) == set(range(EXPERTS)),
              f"layer {layer}: every expert has a slot", experts)
        for rank in range(RANKS):
            own = experts[rank * SLOTS // RANKS:(rank + 1) * SLOTS // RANKS]
            check(len(set(own)) == len(own), f"layer {layer}: no expert twice on a rank", experts)
    check(fact(program.folder / "placement.yaml", "objective") == '"domains"',
          "domains are what is balanced by default")
    check(fact(program.folder / "placement.yaml", "model_hash") == '"0123abcd"', "keeps the model")
    for layer, (before, after, deepseek, bound, *_) in rows_of(outcome).items():
        check(bound <= after + 1e-3 and after <= deepseek + 1e-3 and after <= before + 1e-3,
              f"layer {layer}: after is between the bound and DeepSeek's", outcome)
    check(sorted(rows_of(outcome)) == LAYERS, "tells every layer", outcome)

    again = program(*line, "--threads", 1, "--output", "again.yaml")
    check(again.code == 0 and (program.folder / "again.yaml").read_bytes() ==
          (program.folder / "placement.yaml").read_bytes(), "is the same with one thread", again)
    for name, flags in {"total": ["--objective", "total"], "mean": ["--objective", "mean"],
                        "deepseek": ["--method", "deepseek"], "weights": ["--split", "weights"],
                        "nodes": ["--nodes", 2], "seed": ["--seed", 5]}.items():
        other = program(*line, *flags, "--output", f"{name}.yaml")
        check(other.code == 0, f"plans with {name}", other)
    check(fact(program.folder / "nodes.yaml", "replica_choice") == "home",
          "several nodes: replicas near a token come first")
    both = program("eplb", "plan", "--loads", "loads.h5", "loads.h5", "--num-slots", SLOTS,
                   "--ep-size", RANKS, "--output", "both.yaml")
    check(both.code == 0 and "2 windows" in both.stdout, "adds files up", both)


def plans_little_change(program):
    program("eplb", "plan", "--loads", "loads.h5", "--num-slots", SLOTS, "--ep-size", RANKS,
            "--objective", "total", "--output", "old.yaml")
    outcome = program("eplb", "plan", "--loads", "loads.h5", "--num-slots", SLOTS, "--ep-size",
                      RANKS, "--previous", "old.yaml", "--max-moved", "25%", "--output", "new.yaml")
    check(outcome.code == 0 and "moved" in outcome.stdout, "plans from a previous one", outcome)
    old, new = slots_of(program.folder / "old.yaml"), slots_of(program.folder / "new.yaml")
    for layer in LAYERS:
        moved = sum(a != b for a, b in zip(old[layer], new[layer]))
        check(moved <= SLOTS // 4, f"layer {layer}: {moved} of {SLOTS} slots moved", outcome)


def shows(program):
    outcome = program("eplb", "show", "loads.h5", "placement.yaml", "--svg", "balance.svg")
    check(outcome.code == 0, "shows", outcome)
    check(sorted(rows_of(outcome)) == LAYERS, "shows every layer", outcome)
    for layer, (_, _, _, _, before, after) in rows_of(outcome).items():
        check(1 <= after < before, f"layer {layer}: better domain by domain", outcome)
    check("by domain before" in outcome.stdout and "Heat" in outcome.stdout, "shows all", outcome)
    drawing = xml.dom.minidom.parse(str(program.folder / "balance.svg"))
    check(len(drawing.getElementsByTagName("rect")) > len(LAYERS) * EXPERTS, "draws")

    alone = program("eplb", "show", "loads.h5")
    check(alone.code == 0 and "--ep-size G" in alone.stdout, "shows loads without ranks", alone)
    ranks = program("eplb", "show", "loads.h5", "--ep-size", 3)
    check(ranks.code == 0 and "balance before" in ranks.stdout, "ranks that do not divide", ranks)
    nodes = program("eplb", "show", "loads.h5", "nodes.yaml")
    check(nodes.code == 0 and "remote nodes before" in nodes.stdout, "shows traffic", nodes)
    taken = program("eplb", "show", "loads.h5", "--svg", "balance.svg")
    check(taken.code == 73 and "--overwrite" in taken.stderr, "keeps a drawing", taken)
    for line in (["show", "loads.h5", "--svg", "pipe", "--overwrite"],
                 ["convert", "placement.yaml", "pipe", "--to", "vllm", "--overwrite"],
                 ["plan", "--loads", "loads.h5", "--num-slots", SLOTS, "--ep-size", RANKS,
                  "--output", "pipe", "--overwrite"]):
        refused(program, 73, "pipe: is not a regular file", arguments=line)


def converts(program):
    placement = program.folder / "placement.yaml"
    for name in ("sglang", "vllm", "ascend"):
        there = program("eplb", "convert", placement, f"{name}.json", "--to", name)
        check(there.code == 0, f"converts to {name}", there)
        json.loads((program.folder / f"{name}.json").read_text())
        back = program("eplb", "convert", f"{name}.json", f"{name}.yaml", "--to", "trtllm")
        check(back.code == 0, f"converts from {name}", back)
        slots = slots_of(program.folder / f"{name}.yaml")
        expected = slots_of(placement)
        if name == "sglang":
            check({layer: slots[layer] for layer in LAYERS} == expected and len(slots) == 5,
                  "a row for every layer", slots)
        else:
            check(list(slots.values()) == list(expected.values()), f"{name}: the same", slots)
    one = program("eplb", "convert", program.write("one.json", json.dumps([0, 1, 1, 0])),
                  "one.yaml", "--to", "trtllm", "--num-layers", 2, "--first-layer", 3)
    check(slots_of(program.folder / "one.yaml") == {3: [0, 1, 1, 0], 4: [0, 1, 1, 0]},
          "one list for all layers", one)


def other_formats(program):
    """Loads as other programs write them give the same plan as ours."""
    counts = [[100, 50, 30, 20]]
    expected = program("eplb", "plan", "--loads", "plain.h5", "--num-slots", 6, "--ep-size", 2,
                       "--output", "plain.yaml")
    check(expected.code == 0, "plans from nothing but counts", expected)
    program.write("sglang-loads.json", json.dumps({"logical_count": [counts]}))
    program.write("trace.json", json.dumps({"load_history": [{"logical_expert_load": counts}]}))
    header = json.dumps({"load": {"dtype": "I32", "shape": [1, 4], "data_offsets": [0, 16]}})
    data = struct.pack("<Q", len(header)) + header.encode() + struct.pack("<4i", *counts[0])
    (program.folder / "vllm.safetensors").write_bytes(data)
    statistics = program.folder / "statistics"
    statistics.mkdir()
    (statistics / "meta_info.json").write_text('{"num_experts": 4, "num_experts_per_token": 2}')
    header = json.dumps({"7_0": {"dtype": "I64", "shape": [4], "data_offsets": [0, 32]}})
    half = [count // 2 for count in counts[0]]
    for rank in range(2):
        (statistics / f"rank{rank}.safetensors").write_bytes(
            struct.pack("<Q", len(header)) + header.encode() + struct.pack("<4q", *half))
    for name in ("sglang-loads.json", "trace.json", "vllm.safetensors", "statistics"):
        outcome = program("eplb", "plan", "--loads", name, "--num-slots", 6, "--ep-size", 2,
                          "--output", f"{name}.yaml")
        check(outcome.code == 0 and slots_of(program.folder / f"{name}.yaml") ==
              slots_of(program.folder / "plain.yaml"), f"{name}: the same plan", outcome)


def refused(program, code, *words, arguments):
    """One sentence that holds the words, the exit code, and nothing left behind."""
    before = program.files()
    outcome = program("eplb", *arguments)
    lacks = [repr(w) for w in words if w not in outcome.stderr]
    if outcome.code != code:
        lacks.append(f"exit code {code}")
    if outcome.stderr.count("\n") != 1 or "defect" in outcome.stderr:
        lacks.append("one sentence")
    if program.files() != before:
        lacks.append(f"nothing left behind: {set(program.files()) - set(before)}")
    check(not lacks, f"expected {', '.join(lacks)}", outcome)


def refuses_loads(program):
    def loads(code, *words, files, slots=SLOTS, ranks=RANKS, more=()):
        refused(program, code, *words, arguments=[
            "plan", "--loads", *files, "--num-slots", slots, "--ep-size", ranks, "--output",
            "never.yaml", *more])

    loads(65, "shape.h5", "/expert_loads", "[3]", files=["shape.h5"])
    loads(65, "negative.h5", "/expert_loads", "-50", files=["negative.h5"])
    loads(65, "nan.h5", "/expert_loads", "float64", files=["nan.h5"])
    loads(65, "layers.h5", "/layer_index", "[2]", files=["layers.h5"])
    loads(65, "half.h5", files=["half.h5"])
    loads(65, "zero.h5", "no count", files=["zero.h5"])
    loads(65, "other.h5", "4567cdef", "0123abcd", files=["loads.h5", "other.h5"])
    loads(65, "plain.h5", "4 experts", files=["loads.h5", "plain.h5"])
    loads(66, "absent.h5", files=["absent.h5"])
    program.write("loads.pt", "PK\x03\x04")
    loads(65, "loads.pt", "torch.load", files=["loads.pt"])
    program.write("bad.json", '{"logical_count": [[1, 2], [3]]}')
    loads(65, "bad.json", "layer 1", files=["bad.json"])
    loads(78, "--num-slots", "6", "8", files=["loads.h5"], slots=6, ranks=2)
    loads(78, "--num-slots", "0", files=["loads.h5"], slots=0)
    loads(78, "--num-slots", "13", "4", files=["loads.h5"], slots=13)
    loads(78, "--ep-size", "0", files=["loads.h5"], ranks=0)
    loads(78, "--ep-size", "--nodes", "3", files=["loads.h5"], more=["--nodes", 3])
    loads(78, "windows", files=["loads.h5"], more=["--objective", "windows"])
    loads(73, "loads.h5", "--overwrite", files=["loads.h5"], more=["--output", "loads.h5"])
    loads(73, "loads.h5", "one of --loads", files=["loads.h5"],
          more=["--output", "loads.h5", "--overwrite"])
    loads(73, "nowhere", files=["loads.h5"], more=["--output", "nowhere/p.yaml"])
    loads(64, "--max-moved", "--previous", files=["loads.h5"], more=["--max-moved", "10%"])
    loads(64, "--max-moved", "'much'", files=["loads.h5"],
          more=["--max-moved", "much", "--previous", "placement.yaml"])
    loads(64, "--method", "'magic'", files=["loads.h5"], more=["--method", "magic"])
    loads(64, "--num-slots", "'many'", files=["loads.h5"], slots="many")
    refused(program, 64, "--loads", arguments=["plan", "--num-slots", 8, "--ep-size", 2])
    refused(program, 64, "--output",
            arguments=["plan", "--loads", "loads.h5", "--num-slots", 8, "--ep-size", 2])
    refused(program, 64, "unknown command 'plans'", "'plan'", arguments=["plans"])


def refuses_placements(program):
    sound = (program.folder / "placement.yaml").read_text()
    plain = "num_slots: 12\ninitial_global_assignments:\n"
    rows = [f"  {layer}: {[*range(8), 0, 1, 2, 3]}\n" for layer in LAYERS]

    def placement(code, *words, text, name="bad.yaml", more=()):
        program.write(name, text)
        refused(program, code, name, *words, arguments=["show", "loads.h5", name, *more])

    ranks = ["--ep-size", RANKS]
    placement(65, "line 1", text="{]", more=ranks)
    placement(65, "num_slots is not there", text=(plain + "".join(rows)).partition("\n")[2],
              more=ranks)
    placement(65, "second document", text=sound + "---\n" + sound)
    placement(65, "anchor", text=plain + "  1: &a [0]\n")
    placement(65, "layer 1 slot 1", "'-1'", text=plain + "  1: [0, -1]\n", more=ranks)
    placement(65, "assignments_hash",
              text=re.sub(r"(?m)^(  1: \[)(\d+), (\d+)", r"\1\3, \2", sound))
    placement(65, text=sound[:len(sound) // 2 - len(sound) // 7], more=ranks)
    placement(78, "layer 4 is not there", text=plain + "".join(rows[:2]), more=ranks)
    placement(78, "layer 9 is there", text=plain + "".join(rows) + "  9" + rows[0][3:], more=ranks)
    placement(78, "layer 1 slot 3", "expert 8", "0 to 7",
              text=plain + rows[0].replace("3, 4", "8, 4", 1) + rows[1] + rows[2], more=ranks)
    placement(78, "layer 1 has no slot for expert 5",
              text=plain + rows[0].replace("5", "4") + rows[1] + rows[2], more=ranks)
    placement(78, "layer 2 has 13 slots", "12",
              text=plain + rows[0] + rows[1].replace("]", ", 0]") + rows[2], more=ranks)
    placement(78, "multiple of 5", text=plain + "".join(rows), more=["--ep-size", 5])
    placement(78, "ep_size is 4", "expected 2", text=sound, more=["--ep-size", 2])
    placement(78, "model_hash", "0123abcd", text=sound.replace("0123abcd", "89ab"))
    placement(64, "--ep-size", text=plain + "".join(rows))
    placement(65, "layer 1 has 1 slots", name="bad.json", text="[[0, 1], [0]]", more=ranks)
    refused(program, 66, "absent.yaml", arguments=["show", "loads.h5", "absent.yaml"])
    refused(program, 65, "pipe: is not a regular file", arguments=["show", "loads.h5", "pipe"])

    convert = ["convert", "placement.yaml", "never.json"]
    refused(program, 64, "--to", arguments=convert)
    refused(program, 64, "'onnx'", arguments=[*convert, "--to", "onnx"])
    refused(program, 64, "--ep-size",
            arguments=["convert", "vllm.json", "never.json", "--to", "ascend"])
    refused(program, 73, "vllm.json", "--overwrite",
            arguments=["convert", "placement.yaml", "vllm.json", "--to", "vllm"])
    program.write("slots.yaml", "num_slots: 12\n")
    refused(program, 65, "slots.yaml", "initial_global_assignments",
            arguments=["convert", "slots.yaml", "never.json", "--to", "vllm"])
    filled = program("eplb", "show", "loads.h5", "slots.yaml", "--ep-size", RANKS)
    check(filled.code == 0, "slots without assignments hold the experts in order", filled)
    program.write("hole.json", "[[0, 2]]")
    refused(program, 78, "hole.json", "expert 1",
            arguments=["convert", "hole.json", "never.yaml", "--to", "trtllm"])


def helps(program):
    for line in ([], ["plan"], ["show"], ["convert"]):
        text = program("eplb", *line, "--help")
        check(text.code == 0 and "example" in text.stdout and not text.stderr, "--help", text)
    check("eplb" in program("--help").stdout, "is listed")


def main():
    trireme, eplb_loads = sys.argv[1:]
    with Program(trireme) as program:
        subprocess.run([eplb_loads, program.folder], check=True)
        os.mkfifo(program.folder / "pipe")
        plans(program)
        plans_little_change(program)
        shows(program)
        converts(program)
        other_formats(program)
        refuses_loads(program)
        refuses_placements(program)
        helps(program)
    print("\n".join(failures))
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
