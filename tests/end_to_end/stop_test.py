#!/usr/bin/env python3
"""Jobs that are told to stop, or run out of disk: they end soon, say where the finished rows are, and
`results merge` gives these.

usage: stop_test.py TRIREME CMAKE GENERATOR
"""
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from jobs import CASES, CONFIGS, Job, demo_flags, rows_of
from program import PROJECT, Program

NUM_ROWS = 4000  # more than any of these jobs comes to before it sees the signal
LIMIT_S = 60  # a stop takes well under one
STOPPED = 75


PROGRAM = None
EXPECTED = {}  # custom id -> what its row must say


def setUpModule():
    global PROGRAM
    PROGRAM = unittest.enterModuleContext(Program(TRIREME))
    PROGRAM.prompts("prompts.h5", [{"custom_id": str(i), "prompt": CASES[i % len(CASES)]["prompt"]}
                                   for i in range(NUM_ROWS)])
    reference = PROGRAM(*flags(), "--limit", len(CASES))
    assert reference.code == 0, reference
    EXPECTED.update((key[0], row.said()) for key, row in rows_of(PROGRAM, "results.h5").items())
    (PROGRAM.folder / "results.h5").unlink()
    (PROGRAM.folder / "results.h5.loads.h5").unlink()


def flags(output="results.h5"):
    return demo_flags("prompts.h5", output, "--max-tokens", 16, "--temperature", 0,
                      "--max-batch-size", 8)


class StoppedJob(unittest.TestCase):
    def setUp(self):
        self.output = PROGRAM.folder / "results.h5"
        self.run_directory = PROGRAM.folder / "results.h5.run"

    def tearDown(self):
        shutil.rmtree(self.run_directory, ignore_errors=True)
        for name in ("results.h5", "results.h5.loads.h5", "merged.h5"):
            (PROGRAM.folder / name).unlink(missing_ok=True)

    def start(self, *more, ranks=0):
        job = Job(PROGRAM, *flags(), *more, ranks=ranks,
                  environment={"OMP_WAIT_POLICY": "passive"})
        self.addCleanup(job.kill)
        self.assertTrue(job.wait_until(self.some_rows_are_finished), job.said())
        return job

    def some_rows_are_finished(self):
        return sum(j.stat().st_size for j in self.run_directory.glob("j-*.wal")) > 4000

    def expect_stopped(self, code, log):
        self.assertEqual(code, STOPPED, log)
        self.assertFalse(self.output.exists())
        said = re.search(r"stopped: (\d+) finished rows are in (\S+);", log)
        self.assertTrue(said, log)
        self.assertEqual(pathlib.Path(PROGRAM.folder, said[2]), self.run_directory)
        self.assertEqual(self.merged_rows(), int(said[1]), log)

    def merged_rows(self):
        """Merges what is finished, expects it to be right, and counts it."""
        merged = PROGRAM("results", "merge", self.run_directory, "merged.h5")
        self.assertEqual(merged.code, 0, merged)
        rows = rows_of(PROGRAM, "merged.h5")
        for (custom_id, _), row in rows.items():
            self.assertEqual(row.said(), EXPECTED[str(int(custom_id) % len(CASES))])
        self.assertGreater(len(rows), 0)
        return len(rows)

class Signals(StoppedJob):
    def test_usr1_to_mpirun(self):
        for configuration in ("data_parallel.yaml", "moe_expert_parallel.yaml",
                              "attention_dp.yaml", "pipeline_parallel.yaml"):
            with self.subTest(configuration):
                job = self.start("--config", CONFIGS / configuration, ranks=4)
                job.process.send_signal(signal.SIGUSR1)
                self.expect_stopped(job.wait(LIMIT_S), job.said())
                self.tearDown()

    def test_usr1_to_one_rank(self):
        for configuration, which in (("data_parallel.yaml", 0), ("data_parallel.yaml", 2),
                                     ("moe_expert_parallel.yaml", 0),
                                     ("moe_expert_parallel.yaml", 3)):
            with self.subTest(configuration, rank=which):
                job = self.start("--config", CONFIGS / configuration, ranks=4)
                os.kill(sorted(job.rank_processes())[which], signal.SIGUSR1)
                self.expect_stopped(job.wait(LIMIT_S), job.said())
                self.tearDown()

    def test_control_c_without_mpirun(self):
        job = self.start()
        job.process.send_signal(signal.SIGINT)
        self.expect_stopped(job.wait(LIMIT_S), job.said())

    def test_a_second_control_c_ends_it_at_once(self):
        job = self.start()
        job.process.send_signal(signal.SIGINT)
        time.sleep(0.001)  # two that wait together would be one
        job.process.send_signal(signal.SIGINT)
        # Between two steps it may have stopped already.
        self.assertIn(job.wait(LIMIT_S), (130, STOPPED), job.said())
        self.merged_rows()

    def test_sigterm_to_mpirun_which_gives_a_second(self):
        job = self.start(ranks=4)
        job.process.send_signal(signal.SIGTERM)
        self.assertNotEqual(job.wait(LIMIT_S), 0, job.said())
        self.merged_rows()

    def test_a_stop_before_the_first_step(self):
        job = Job(PROGRAM, *flags(), environment={"OMP_WAIT_POLICY": "passive"})
        job.wait_until(lambda: "1 rank" in job.said())
        job.process.send_signal(signal.SIGTERM)
        self.assertEqual(job.wait(LIMIT_S), STOPPED, job.said())
        self.assertIn("stopped: ", job.said())


class Terminal(StoppedJob):
    """tools/launch.sh on a terminal: one Ctrl-C stops cleanly, a second one ends the job."""

    def run_in_terminal(self, presses):
        """The exit code and what the terminal showed; Ctrl-C when rows are finished."""
        line = [str(PROJECT / "tools" / "launch.sh"), "-n", "2", str(PROGRAM.trireme),
                *map(str, flags())]
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(PROGRAM.folder)
            os.execv(line[0], line)
        shown, end, pressed = b"", time.monotonic() + LIMIT_S, False
        while True:
            if not pressed and self.some_rows_are_finished():
                pressed = True
                os.write(terminal, b"\x03" * presses)
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
            if select.select([terminal], [], [], 0.05)[0]:
                try:
                    shown += os.read(terminal, 65536)
                except OSError:  # closed: the job is gone
                    break
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(terminal)
        return status, shown.decode("utf-8", "replace")

    def test_once(self):
        self.expect_stopped(*self.run_in_terminal(1))

    def test_twice(self):
        code, shown = self.run_in_terminal(2)
        self.assertGreater(code, 0, shown)
        self.merged_rows()


class Disk(StoppedJob):
    """A file system of its own that is too small."""

    def mount(self, size):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="trireme-disk-"))
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder],
                                 capture_output=True)
        if mounted.returncode != 0:
            folder.rmdir()
            self.skipTest("needs the right to mount a file system: "
                          + mounted.stderr.decode("utf-8", "replace").strip())
        self.addCleanup(folder.rmdir)
        self.addCleanup(subprocess.run, ["umount", "-l", folder], check=True)
        return folder

    def test_too_little_is_said_before_the_run(self):
        disk = self.mount("64k")
        outcome = PROGRAM(*flags(disk / "results.h5"))
        self.assertEqual(outcome.code, 74, outcome)
        self.assertRegex(outcome.stderr, r"\d+ bytes are needed here, \d+ are free")
        self.assertEqual(list(disk.iterdir()), [])

    def test_a_disk_that_fills_up_ends_the_run_and_keeps_the_finished_rows(self):
        disk = self.mount("8m")
        self.run_directory = disk / "results.h5.run"
        job = Job(PROGRAM, *flags(disk / "results.h5"), ranks=2)
        job.wait_until(self.some_rows_are_finished)
        try:
            with open(disk / "filler", "wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
        except OSError:
            pass
        self.assertEqual(job.wait(LIMIT_S), 74, job.said())
        self.assertIn("results merge", job.said())
        self.merged_rows()


class Version(unittest.TestCase):
    def test_a_copy_without_git_says_so(self):
        with tempfile.TemporaryDirectory(prefix="trireme-copy-") as folder:
            copy = pathlib.Path(folder) / "copy"
            shutil.copytree(PROJECT, copy, ignore=lambda at, names: [
                name for name in names if pathlib.Path(at) == PROJECT and
                name not in ("CMakeLists.txt", "src", "kernels", "tools")])
            made = subprocess.run([CMAKE, "-G", GENERATOR, "-S", copy, "-B", copy / "build",
                                   "-DTRIREME_TESTS=OFF"],
                                  capture_output=True, env={**os.environ, "GIT_DIR": "/nowhere"})
            self.assertEqual(made.returncode, 0, made.stderr)
            text = (copy / "build" / "src" / "apps" / "version.cpp").read_text()
            self.assertIn('"no git"', text)

    def test_the_build_names_itself(self):
        said = subprocess.run([TRIREME, "--version"], capture_output=True, text=True)
        self.assertEqual(said.returncode, 0)
        self.assertRegex(said.stdout, r"\Atrireme \d+\.\d+\.\d+ \(.+\)")


if __name__ == "__main__":
    TRIREME, CMAKE, GENERATOR = sys.argv[1:4]
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
