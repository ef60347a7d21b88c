#!/usr/bin/env python3
"""The same rows, split over replicas, stages and small memory, in other orders: the same results.

usage: company_job_test.py TRIREME
"""
import re
import sys
import unittest

from jobs import CASES, demo_flags, rows_of
from program import Program

NUM_ROWS = 24
MAX_SEQ_LEN = 128
TOKEN_BYTES_OF_LAYER = 2 * 2 * 64 * 4  # K and V of two heads in float32
TINY_SEQUENCES = 1.2  # what the KV memory of a replica holds
LOGPROB_TOLERANCE = 2e-4

KINDS = [
    {"temperature": 0},
    {"temperature": 0.8, "top_p": 0.9, "logprobs": True, "top_logprobs": 2},
    {"temperature": 1, "top_k": 20, "presence_penalty": 0.5, "n": 2},
    {"temperature": 0, "repetition_penalty": 1.3, "stop": [",", "\n\n"]},
    {"temperature": 1.2, "min_p": 0.05, "min_tokens": 4, "stop_token_ids": [11, 13]},
    {"temperature": 0.7, "frequency_penalty": 0.3, "seed": 9, "prompt_logprobs": True},
]

# name -> ranks, flags, layers on the fullest stage
LAYOUTS = {
    "one replica": (0, [], 5),
    "two replicas": (2, [], 5),
    "four replicas": (4, [], 5),
    "two replicas of two stages": (4, ["--pipeline-parallel-size", 2], 3),
    "stages of attention data parallel": (4, ["--pipeline-parallel-size", 2,
                                              "--tensor-parallel-size", 2,
                                              "--enable-attention-dp"], 3),
}


def demo_rows():
    shared = "In the beginning God created the heaven and the earth.\nAnd the earth was "
    rows = []
    for i in range(NUM_ROWS):
        words = CASES[i % 4 * 12 + i // 4]["prompt"].split(" ")
        prompt = (shared if i % 2 else "") + " ".join(words[:4 + i % 7])
        rows.append({"custom_id": f"row-{i}", "prompt": prompt, "max_tokens": 12 + i % 5,
                     "logprobs": True, **KINDS[i % len(KINDS)]})
    return rows


class CompanyJob(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = cls.enterClassContext(Program(TRIREME))
        cls.rows = demo_rows()
        cls.program.prompts("prompts.h5", cls.rows)
        cls.expected, _ = cls.run_job("prompts.h5", 0)

    @classmethod
    def run_job(cls, prompts, ranks, *flags):
        outcome = cls.program(*demo_flags(prompts, "results.h5", "--overwrite", "--max-seq-len",
                                          MAX_SEQ_LEN, *flags), ranks=ranks,
                              environment={"OMP_WAIT_POLICY": "passive"})
        assert outcome.code == 0, outcome
        return rows_of(cls.program, "results.h5"), outcome.stderr

    def expect_same(self, rows, expected):
        self.assertEqual(sorted(rows), sorted(expected))
        for key, row in expected.items():
            self.assertEqual(rows[key].said(), row.said(), key)
            for got, wanted in zip(rows[key].logprobs, row.logprobs):
                self.assertAlmostEqual(got, wanted, delta=LOGPROB_TOLERANCE, msg=key)

    def test_every_kind_of_row_came_out(self):
        num_samples = sum(row.get("n", 1) for row in self.rows)
        self.assertEqual(len(self.expected), num_samples)
        self.assertTrue(all(sample is not None for _, sample in self.expected))
        reasons = {row.finish_reason for row in self.expected.values()}
        self.assertEqual(reasons, {"stop", "length"})

    def test_layouts_with_little_memory_and_small_steps(self):
        for name, (ranks, flags, layers) in LAYOUTS.items():
            memory = int(TINY_SEQUENCES * MAX_SEQ_LEN * TOKEN_BYTES_OF_LAYER * layers)
            with self.subTest(name):
                rows, log = self.run_job(
                    "prompts.h5", ranks, *flags, "--max-num-tokens", 16, "--max-batch-size", 16,
                    "--set", "kv_cache_config.tokens_per_block=8",
                    "--set", f"kv_cache_config.host_memory_bytes={memory}")

                self.expect_same(rows, self.expected)
                self.assertGreater(int(re.search(r"(\d+) preemption", log)[1]), 0, log)
                self.assertGreater(int(re.search(r"KV reuse +(\d+)", log)[1]), 0, log)

    def test_without_planning_ahead_and_without_reuse(self):
        rows, log = self.run_job("prompts.h5", 2, "--plan-ahead", 0,
                                 "--set", "kv_cache_config.enable_block_reuse=false")

        self.expect_same(rows, self.expected)
        self.assertIn("KV reuse   0 ", log)

    def test_greedy_rows_in_another_order(self):
        # Draws depend on the number of a row in its file; greedy rows have none.
        greedy = [row for row in self.rows if row["temperature"] == 0]
        self.program.prompts("backwards.h5", greedy[::-1])

        rows, _ = self.run_job("backwards.h5", 2)

        names = {row["custom_id"] for row in greedy}
        self.expect_same(rows, {key: row for key, row in self.expected.items() if key[0] in names})

    def test_a_trial_of_the_first_rows(self):
        rows, _ = self.run_job("prompts.h5", 2, "--limit", 7)

        names = {row["custom_id"] for row in self.rows[:7]}
        self.expect_same(rows, {key: row for key, row in self.expected.items() if key[0] in names})


if __name__ == "__main__":
    TRIREME = sys.argv.pop(1)
    unittest.main(verbosity=2)
