#!/usr/bin/env python3
"""What others do to the run directory of a job that works: no row is lost without a word.

usage: shared_output_test.py TRIREME [NO_LOCKS]

NO_LOCKS is a library to preload that takes the file system its locks.
"""
import contextlib
import os
import signal
import sys

from jobs import CASES, CONFIGS, Job, demo_flags, rows_of
from program import Program

RANKS = 2
NUM_ROWS = 1000


class Shared:
    """Starts the same job again and again; others meddle once it has finished rows."""

    def __init__(self, program):
        self.program = program
        self.output = program.folder / "results.h5"
        self.run_directory = program.folder / "results.h5.run"
        program.prompts("prompts.h5", [
            {"custom_id": str(i), "prompt": CASES[i % len(CASES)]["prompt"][:40],
             "max_tokens": 24, "ignore_eos": True} for i in range(NUM_ROWS)])

    def flags(self, *more):
        return demo_flags("prompts.h5", "results.h5", "--record-loads", "none", *more)

    @contextlib.contextmanager
    def job_that_waits(self, environment=None):
        """A job in its work, every rank stopped as long as the block lasts."""
        job = Job(self.program, *self.flags("--config", CONFIGS / "data_parallel.yaml"), ranks=RANKS,
                  environment=environment)
        both = lambda: sum(size > 0 for size in self.journal_sizes()) == RANKS
        expect(job.wait_until(both, 120), "no journal of each rank", job)
        ranks = job.rank_processes()
        expect(len(ranks) == RANKS, "the job ended too soon", job)
        for pid in ranks:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield job
        finally:
            for pid in ranks:
                os.kill(pid, signal.SIGCONT)

    def journal_sizes(self):
        return [journal.stat().st_size for journal in self.run_directory.glob("j-*.wal")]

    def others_are_kept_out(self):
        with self.job_that_waits() as job:
            for command, *more in (["run"], ["plan", "--world", RANKS]):
                other = self.program(command, *self.flags("--overwrite")[1:], *more)
                expect(other.code == 73 and "a run is at work in this run directory" in other.stderr,
                       str(other), job)
            other = self.program(*self.flags())
            expect(other.code == 73 and "a run is at work" in other.stderr, str(other), job)
            look = self.program("results", "merge", self.run_directory, "look.h5")
            expect(look.code == 0 and "a run is at work here" in look.stderr, str(look), job)
        expect(job.wait(120) == 0, "the job failed", job)
        expect(len(rows_of(self.program, self.output)) == NUM_ROWS, "rows are missing", job)
        expect(not self.run_directory.exists(), "the run directory is there still", job)

    def loss_is_told(self, harm, *words, environment=None):
        """After `harm` the job ends with 74, says why, publishes nothing and removes nothing."""
        self.output.unlink(missing_ok=True)
        with self.job_that_waits(environment) as job:
            harm()
        expect(job.wait(120) == 74, "the exit code is wrong", job)
        for word in words:
            expect(word in job.said(), f"{word!r} is not said", job)
        expect(not self.output.exists(), "a result file is published", job)
        expect(len(self.journal_sizes()) > 0, "the journals are gone", job)
        again = self.program(*self.flags("--overwrite"))  # the lock went with the job
        expect(again.code == 0, str(again), job)

    def works_without_locks(self, environment):
        """Nobody is kept out then, but whoever loses his rows is told."""
        self.output.unlink()

        def overwrite():
            other = self.program(*self.flags("--overwrite", "--keep-run-directory"),
                                 environment=environment)
            if other.code != 0 or other.stderr.count("this file system has no locks") != 1:
                raise AssertionError(str(other))
            self.output.rename(self.program.folder / "other.h5")

        self.loss_is_told(overwrite, "this file system has no locks",
                          "is no longer the directory of this run", environment=environment)


def expect(holds, what, job):
    if not holds:
        raise AssertionError(f"{what}\n{job.said()}")


def main():
    with Program(sys.argv[1]) as program:
        shared = Shared(program)
        shared.others_are_kept_out()
        shared.loss_is_told(lambda: (shared.run_directory / "j-0-1-0.wal").unlink(),
                            f"finished {NUM_ROWS}", "no result file is written")
        shared.loss_is_told(lambda: (shared.run_directory / "nonce").write_text("another"),
                            "is no longer the directory of this run")
        if len(sys.argv) > 2:
            shared.works_without_locks({"LD_PRELOAD": sys.argv[2]})
        print("no row was lost without a word")


if __name__ == "__main__":
    main()
