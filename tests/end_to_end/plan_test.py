#!/usr/bin/env python3
"""What plan says must be what run then does: layout, memory, room, disk. And it says it alone.

usage: plan_test.py TRIREME
"""
import os
import re
import sys

from program import DATA, PROJECT, Program

DEMO = DATA / "demo"
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

failures = []


def check(holds, what, outcome=""):
    if not holds:
        failures.append(f"{what}\n{outcome}\n")


def found(pattern, text):
    match = re.search(pattern, text)
    return match.group(1) if match else None


def size(text):
    number, unit = text.split()
    return float(number) * UNITS[unit]


def rank_table(text):
    """The numbers of each rank's line: rank, coordinates, group."""
    lines = re.findall(r"^ +\d+(?: +\d+){7}\b", text, re.MULTILINE)
    return [[int(number) for number in line.split()] for line in lines]


def agrees_with_run(program, name, ranks, *flags):
    """Plans, runs, and compares the figures."""
    line = ["--model", DEMO, "--prompts", "prompts.h5", "--output", f"{name}.h5", "--max-tokens", 40,
            "--ignore-eos", "--max-seq-len", 512, "--set",
            "kv_cache_config.host_memory_bytes=64 MiB", *flags]
    plan = program("plan", *line, "--world", ranks)
    check(plan.code == 0 and plan.stderr == "", f"{name}: plans", plan)
    check(program.files() == ["prompts.h5"], f"{name}: plan makes nothing", program.files())
    run = program("run", *line, "--keep-run-directory", ranks=ranks)
    check(run.code == 0, f"{name}: runs", run)

    check(len(rank_table(plan.stdout)) == ranks, f"{name}: a line for each rank", plan)
    check(rank_table(plan.stdout) == rank_table(run.stderr), f"{name}: the table of ranks",
          f"{plan}\n{run}")
    room = found(r"KV memory    holds ([\d,]+) sequence", plan.stdout)
    check(room == found(r"room for (\d+) sequence", run.stderr), f"{name}: room in KV memory",
          f"{plan}\n{run}")
    weights = found(r"\n  0      [\d-]+ +([\d.]+ [KMG]iB)", plan.stdout)
    kept = found(r"kept ([\d.]+ [KMG]iB) on rank 0", run.stderr)
    # The plan counts the rotary table as well, which no file holds.
    check(0 <= size(weights) - size(kept) <= size("0.7 MiB"), f"{name}: weights of a rank",
          f"{plan}\n{run}")

    disk = size(found(r"up to about ([\d.]+ \w+) for journals", plan.stdout))
    written = sum(p.stat().st_size for p in [program.folder / f"{name}.h5",
                                             *(program.folder / f"{name}.h5.run").iterdir()])
    # Beside the rows there are the heads of the files.
    check(written <= disk + (64 << 10), f"{name}: wrote {written} bytes", plan)
    for path in (program.folder / f"{name}.h5.run").iterdir():
        path.unlink()
    (program.folder / f"{name}.h5.run").rmdir()
    (program.folder / f"{name}.h5").unlink()
    (program.folder / f"{name}.h5.loads.h5").unlink()


def configs(program):
    """Every configuration of the repository can be planned on one machine, without a launcher."""
    alone = {"PATH": "/nowhere", "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
    paths = sorted((PROJECT / "configs").glob("*.yaml"))
    (program.folder / "demo").mkdir()
    program.write("demo/placement.yaml", "num_slots: 48\n")  # of wide_ep.yaml
    check(len(paths) > 5, "there are configurations", paths)
    for path in paths:
        plan = program("plan", "--config", path, "--model", DEMO, environment=alone)
        check(plan.code == 0, f"{path.name}: plans", plan)
        ranks = found(r"\n(\d+) rank", plan.stdout)
        check(f"tools/launch.sh -n {ranks} trireme run" in plan.stdout, f"{path.name}: ends", plan)


def words(program):
    plan = program("plan", "--model", DEMO, "--device", "cuda", "--device-memory", "80 GiB")
    check(plan.code == 0 and "on cuda in bfloat16, ranks exchange over nccl" in plan.stdout,
          "plans for GPUs that are not here", plan)
    check("which has 80.0 GiB" in plan.stdout and "71.6 GiB" in plan.stdout,
          "KV memory is the fraction of what is left", plan)
    plan = program("plan", "--model", DEMO, "--tensor-parallel-size", 2, "--world", 4096,
                   "--device-memory", "4 GiB")
    check(plan.code == 0 and "4096 ranks = data 2048" in plan.stdout and
          len(plan.stdout.splitlines()) < 50, "a large job stays readable", plan)
    plan = program("plan", "--model", DEMO, "--world", 4096)
    check(plan.code == 78 and "--device-memory tells that of the job's" in plan.stderr,
          "says that the machine's memory was shared out", plan)
    plan = program("plan", "--model", DEMO, "--dump-config", "--world", 8)
    check(plan.code == 0 and '"data_parallel_size": 8' in plan.stdout, "--dump-config", plan)
    for command in ("plan", "run"):
        version = program(command, "--version")
        check(version.code == 0 and version.stdout.startswith("trireme "), "--version", version)
        text = program(command, "--help")
        check(text.code == 0 and "example" in text.stdout and "--model DIR" in text.stdout, "--help",
              text)
    plan = program("plan", "--model", DEMO, ranks=2)
    check(plan.code == 78 and plan.stderr.count("OMPI_COMM_WORLD_SIZE is 2") == 1,
          "is no job of ranks", plan)


def worlds_of_one(program):
    """Processes that a launcher started but MPI did not join: one of them speaks."""
    said = ""
    for process in range(3):
        outcome = program("run", "--model", DEMO, environment={"SLURM_STEP_NUM_TASKS": "3",
                                                               "SLURM_PROCID": str(process)})
        check(outcome.code == 78, f"process {process} is refused", outcome)
        said += outcome.stderr
    check(said.count("SLURM_STEP_NUM_TASKS is 3, but MPI has 1 rank") == 1, "said once", said)
    check("srun --mpi=pmix" in said, "names the way out", said)


def main():
    with Program(sys.argv[1]) as program:
        program.prompts("prompts.h5", [{"prompt": f"The {i} wise man"} for i in range(200)])
        agrees_with_run(program, "one", 1)
        agrees_with_run(program, "tensor", 2, "--tensor-parallel-size", 2, "--logprobs", 5)
        agrees_with_run(program, "stages", 2, "--pipeline-layers", "3,2",
                        "--pipeline-parallel-size", 2)
        configs(program)
        words(program)
        worlds_of_one(program)
    print("\n".join(failures))
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
