#!/usr/bin/env python3
"""kill -9 of one rank at random moments of a job: the job ends soon, and `results merge` gives every
finished row exactly once and right.

usage: kill_test.py TRIREME [KILLS [SEED]]
"""
import os
import pathlib
import random
import shutil
import signal
import struct
import sys
import time

from jobs import CASES, CONFIGS, Job, demo_flags, rows_of
from program import Program

RANKS = 4
LIMIT_S = 30  # from the kill to the end of the job; mpirun takes 2
NUM_ROWS = 200
CONFIGURATIONS = ("data_parallel.yaml", "moe_expert_parallel.yaml")
FRAME_HEADER = struct.Struct("<IHHQqiI")  # magic, version, kind, payload bytes, index, sample, -
FRAME_MAGIC = 0x4C574A54


def demo_rows():
    rows = []
    for i in range(NUM_ROWS):
        prompt = CASES[i % len(CASES)]["prompt"]
        rows.append({"custom_id": str(i), "prompt": prompt[:40 + i // len(CASES)],
                     "max_tokens": 8 + i % 9, "temperature": 0.8 * (i % 2), "logprobs": True,
                     "n": 2 if i % 10 == 0 else 1})
    return rows


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC32C = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def finished_rows(run_directory):
    """(custom id, sample) of every whole frame in the journals: read here, without the program."""
    rows = []
    for journal in sorted(run_directory.glob("j-*.wal")):
        data, at = journal.read_bytes(), 0
        while at + FRAME_HEADER.size <= len(data):
            magic, _, _, payload, index, sample, _ = FRAME_HEADER.unpack_from(data, at)
            end = at + FRAME_HEADER.size + payload
            if magic != FRAME_MAGIC or end + 4 > len(data):
                break
            if crc32c(data[at:end]) != struct.unpack_from("<I", data, end)[0]:
                break
            rows.append((str(index), sample))
            at = end + 4
    return rows


class Kills:
    """Runs the same job again and again and kills a rank of each."""

    def __init__(self, program, dice):
        self.program, self.dice = program, dice
        self.output = program.folder / "results.h5"
        self.run_directory = program.folder / "results.h5.run"
        self.landed = {"start-up": 0, "running": 0, "merging": 0, "the end": 0}
        self.slowest_s = 0
        program.prompts("prompts.h5", demo_rows())
        self.expected, self.journal_bytes, self.start_s = None, 0, 0
        for configuration in CONFIGURATIONS:
            begin = time.monotonic()
            job = self.start(configuration, "--keep-run-directory")
            job.wait_until(self.finished_bytes, 300)
            self.start_s = time.monotonic() - begin
            if job.wait(300) != 0:
                raise RuntimeError(job.said())
            self.journal_bytes = self.finished_bytes()
            rows = {key: row.said() for key, row in rows_of(program, self.output).items()}
            if self.expected not in (None, rows):
                raise RuntimeError(f"{configuration} gives other rows without any kill")
            self.expected = rows
            self.clear()

    def start(self, configuration, *more):
        return Job(self.program, *demo_flags("prompts.h5", "results.h5", "--config",
                                             CONFIGS / configuration, *more), ranks=RANKS)

    def finished_bytes(self):
        return sum(size_of(journal) for journal in self.run_directory.glob("j-*.wal"))

    def clear(self):
        self.output.unlink(missing_ok=True)
        (self.program.folder / "merged.h5").unlink(missing_ok=True)
        pathlib.Path(f"{self.output}.tmp").unlink(missing_ok=True)
        pathlib.Path(f"{self.output}.loads.h5").unlink(missing_ok=True)
        shutil.rmtree(self.run_directory, ignore_errors=True)

    def phase(self):
        if pathlib.Path(f"{self.output}.tmp").exists():
            return "merging"
        if any(self.run_directory.glob("j-*.wal")):
            return "running"
        return "the end" if self.output.exists() else "start-up"

    def kill_one(self, number):
        configuration = self.dice.choice(CONFIGURATIONS)
        begin = time.monotonic()
        job = self.start(configuration)
        moment = self.dice.random()
        if number % 8 == 7:  # the merge is short: it is waited for
            job.wait_until(lambda: self.phase() in ("merging", "the end"), 300)
        elif number % 4 == 1:  # while ranks come up and load
            job.wait_until(lambda: time.monotonic() >= begin + moment * self.start_s)
        else:  # between two rows, or in one
            job.wait_until(self.finished_bytes, 300)
            self.start_s = time.monotonic() - begin  # the machine's load changes
            job.wait_until(lambda: self.finished_bytes() >= moment * self.journal_bytes, 300)
            time.sleep(self.dice.uniform(0, 0.05))
        job.wait_until(job.rank_processes)  # until there is one
        phase, ranks = self.phase(), job.rank_processes()
        try:
            os.kill(self.dice.choice(ranks), signal.SIGKILL)
        except (IndexError, ProcessLookupError):
            pass  # complete
        begin = time.monotonic()
        code = job.wait(LIMIT_S)  # raises if it takes longer
        while any(is_alive(pid) for pid in ranks):
            expect(time.monotonic() - begin < LIMIT_S, "ranks outlive their job", job)
            time.sleep(0.01)
        self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
        expect(code != 0 or self.output.exists(), "the job claims success without results", job)
        self.check_rows(job)
        self.clear()
        if code == 0:
            return  # it was complete before
        self.landed[phase] += 1

    def check_rows(self, job):
        if self.output.exists():
            rows = {key: row.said() for key, row in rows_of(self.program, self.output).items()}
            expect(rows == self.expected, "the complete result differs", job)
            return
        finished = finished_rows(self.run_directory)
        expect(len(set(finished)) == len(finished), "a row was finished twice", job)
        merged = self.program("results", "merge", self.run_directory, "merged.h5")
        if not any(self.run_directory.glob("j-*.wal")):
            return  # killed before there was anything to lose
        expect(merged.code == 0, str(merged), job)
        rows = {key: row.said() for key, row in rows_of(self.program, "merged.h5").items()}
        expect(sorted(rows) == sorted(finished), f"{len(finished)} rows were finished, "
               f"{len(rows)} came out", job)
        for key, row in rows.items():
            expect(row == self.expected[key], f"row {key} is {row}, not {self.expected[key]}", job)


def size_of(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:  # removed meanwhile: the job is complete
        return 0


def is_alive(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def expect(holds, what, job):
    if not holds:
        raise AssertionError(f"{what}\n{job.said()}")


def main():
    num_kills = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
    print(f"{num_kills} kills, seed {seed}", flush=True)
    with Program(sys.argv[1]) as program:
        kills = Kills(program, random.Random(seed))
        num_jobs = 0
        while sum(kills.landed.values()) < num_kills:
            kills.kill_one(num_jobs)
            num_jobs += 1
            if num_jobs > 3 * num_kills + 20:
                raise RuntimeError("most jobs end before they can be killed")
        where = ", ".join(f"{count} in {phase}" for phase, count in kills.landed.items())
        print(f"{num_kills} kills ({where}): every finished row once and right; the slowest end "
              f"came {kills.slowest_s:.1f} s after the kill")


if __name__ == "__main__":
    main()
