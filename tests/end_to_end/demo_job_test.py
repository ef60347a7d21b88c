#!/usr/bin/env python3
"""The demonstration job gives the reference's greedy tokens and text, in every way of parallelism.

usage: demo_job_test.py TRIREME
"""
import sys
import unittest

from jobs import CASES, CONFIGS, demo_flags, rows_of
from program import Program

# name -> ranks, flags. The configs that the repository offers, and products of them.
LAYOUTS = {
    "one rank": (0, []),
    "tensor parallel": (4, ["--config", CONFIGS / "tensor_parallel.yaml"]),
    "pipeline parallel": (4, ["--config", CONFIGS / "pipeline_parallel.yaml"]),
    "data parallel": (4, ["--config", CONFIGS / "data_parallel.yaml"]),
    "attention data parallel": (4, ["--config", CONFIGS / "attention_dp.yaml"]),
    "experts in tensor parallel": (4, ["--config", CONFIGS / "moe_tensor_parallel.yaml"]),
    "hybrid experts": (4, ["--tensor-parallel-size", 4, "--moe-tensor-parallel-size", 2,
                           "--moe-expert-parallel-size", 2]),
    "stages of tensor groups": (4, ["--tensor-parallel-size", 2, "--pipeline-parallel-size", 2]),
    "hybrid experts of 8": (8, ["--config", CONFIGS / "moe_hybrid.yaml"]),
    "all together": (8, ["--config", CONFIGS / "combined.yaml"]),
}
FEW_CASES = 20
FEW_TOKENS = 12


class DemoJob(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = cls.enterClassContext(Program(TRIREME))
        cls.program.prompts("prompts.h5", [{"custom_id": f"case-{i}", "prompt": case["prompt"]}
                                           for i, case in enumerate(CASES)])

    def run_job(self, ranks, *flags):
        outcome = self.program(*demo_flags("prompts.h5", "results.h5", "--overwrite",
                                           "--temperature", 0, *flags), ranks=ranks,
                               environment={"OMP_WAIT_POLICY": "passive"})
        self.assertEqual(outcome.code, 0, outcome)
        return rows_of(self.program, "results.h5")

    def test_the_reference_tokens_and_text_on_four_ranks(self):
        rows = self.run_job(4, "--config", CONFIGS / "moe_expert_parallel.yaml",
                            "--max-tokens", 32, "--logprobs", "true")

        self.assertEqual(len(rows), len(CASES))
        for i, case in enumerate(CASES):
            row = rows[f"case-{i}", 0]
            self.assertEqual(row.ids, case["greedy_ids"], f"case {i}")
            self.assertEqual(row.text, case["greedy_text"], f"case {i}")
            self.assertEqual(row.finish_reason, "length")
            self.assertEqual(row.prompt_tokens, len(case["prompt_ids"]))

    def test_the_same_in_other_layouts(self):
        for name, (ranks, flags) in LAYOUTS.items():
            with self.subTest(name):
                rows = self.run_job(ranks, *flags, "--limit", FEW_CASES, "--max-tokens",
                                    FEW_TOKENS, "--logprobs", "true")

                self.assertEqual(sorted(rows), sorted((f"case-{i}", 0) for i in range(FEW_CASES)))
                for i, case in enumerate(CASES[:FEW_CASES]):
                    row = rows[f"case-{i}", 0]
                    self.assertEqual(row.ids, case["greedy_ids"][:FEW_TOKENS], f"case {i}")
                    self.assertTrue(case["greedy_text"].startswith(row.text), f"case {i}")

    def test_without_log_probabilities_too(self):
        rows = self.run_job(2, "--tensor-parallel-size", 2, "--max-tokens", 32, "--limit", 10)

        for i, case in enumerate(CASES[:10]):
            self.assertEqual(rows[f"case-{i}", 0].text, case["greedy_text"], f"case {i}")


if __name__ == "__main__":
    TRIREME = sys.argv.pop(1)
    unittest.main(verbosity=2)
