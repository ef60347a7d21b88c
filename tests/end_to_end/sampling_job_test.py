#!/usr/bin/env python3
"""Every sampling option, seen from the results: against log-probabilities, and against draws that
this script makes itself from the definition of the noise.

usage: sampling_job_test.py TRIREME
"""
import math
import sys
import unittest

from jobs import CASES, demo_flags, rows_of
from program import Program

END_OF_SEQUENCE = 8189
COMMA = 11
MASK = (1 << 64) - 1
MARGIN = 1e-4  # rounding decides below it
CASE = CASES[0]  # its greedy text is ", and the earth was astonished" again and again


def splitmix64(value):
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def philox(key, counter):
    """Philox4x32-10."""
    low, high = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(second >> 32) ^ counter[1] ^ low, second & 0xFFFFFFFF,
                   (first >> 32) ^ counter[3] ^ high, first & 0xFFFFFFFF]
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return counter


def noise(seed, index, sample, position, token):
    key = splitmix64((splitmix64((splitmix64(seed) + index) & MASK) + sample) & MASK)
    words = philox(key, [position & 0xFFFFFFFF, position >> 32, token // 4, 0])
    return -math.log(-math.log(((words[token % 4] >> 9) + 0.5) * 2.0 ** -23))


def kept(top, temperature, top_p, min_p):
    """What top_p and min_p keep of the candidates (id, log-probability), best first."""
    weights = [math.exp((value - top[0][1]) / temperature) for _, value in top]
    total, mass, keep = sum(weights), 0.0, []
    for candidate, weight in zip(top, weights):
        if keep and (mass >= top_p * total or weight < min_p):
            break
        keep.append(candidate)
        mass += weight
    return keep


# name -> the fields of its row. Prompts are short, so that much fits a run.
ROWS = {
    "plain": {"temperature": 0, "max_tokens": 32, "top_logprobs": 3},
    "min-tokens": {"temperature": 0, "max_tokens": 20, "min_tokens": 5,
                   "logit_bias": {str(END_OF_SEQUENCE): 100}},
    "end": {"temperature": 0, "max_tokens": 20, "logit_bias": {str(END_OF_SEQUENCE): 100}},
    "ignored-end": {"temperature": 0, "max_tokens": 6, "ignore_eos": True,
                    "logit_bias": {str(END_OF_SEQUENCE): 100}},
    "stop": {"temperature": 0, "max_tokens": 32, "stop": ["nowhere", "d, and"]},
    "stop-ids": {"temperature": 0, "max_tokens": 32, "stop_token_ids": [COMMA]},
    "forbidden": {"temperature": 0, "max_tokens": 1,
                  "logit_bias": {str(CASE["greedy_ids"][0]): -100}},
    "top-k-1": {"temperature": 1, "max_tokens": 32, "top_k": 1},
    "small-top-p": {"temperature": 1, "max_tokens": 32, "top_p": 1e-5},
    "min-p-1": {"temperature": 1, "max_tokens": 32, "min_p": 1},
    "drawn": {"temperature": 0.9, "max_tokens": 24, "top_k": 20, "top_logprobs": 20, "n": 3},
    "drawn-alike": {"temperature": 0.9, "max_tokens": 24, "top_k": 20, "top_logprobs": 20, "n": 3},
    "drawn-top-p": {"temperature": 1.1, "max_tokens": 24, "top_k": 20, "top_p": 0.7,
                    "top_logprobs": 20, "seed": 12345678901},
    "drawn-min-p": {"temperature": 1.3, "max_tokens": 24, "top_k": 20, "min_p": 0.1,
                    "top_logprobs": 20, "seed": 3},
    "presence": {"temperature": 0, "max_tokens": 24, "presence_penalty": 1.5, "top_logprobs": 20},
    "frequency": {"temperature": 0, "max_tokens": 24, "frequency_penalty": 0.75,
                  "top_logprobs": 20},
    "scored": {"temperature": 0, "max_tokens": 0, "prompt_logprobs": True,
               "prompt": CASE["prompt_ids"] + CASE["greedy_ids"]},
}
INDEX = {name: index for index, name in enumerate(ROWS)}


class SamplingJob(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = cls.enterClassContext(Program(TRIREME))
        cls.program.prompts("prompts.h5", [
            {"custom_id": name, "prompt": CASE["prompt"], "logprobs": True, **fields}
            for name, fields in ROWS.items()])
        cls.rows = cls.run_job(2)

    @classmethod
    def run_job(cls, ranks, *flags):
        outcome = cls.program(*demo_flags("prompts.h5", "results.h5", "--overwrite", *flags),
                              ranks=ranks, environment={"OMP_WAIT_POLICY": "passive"})
        assert outcome.code == 0, outcome
        return rows_of(cls.program, "results.h5")

    def row(self, name, sample=0):
        return self.rows[name, sample]

    def test_no_row_failed(self):
        self.assertEqual(len(self.rows), sum(row.get("n", 1) for row in ROWS.values()))
        self.assertFalse([key for key in self.rows if key[1] is None])

    def test_the_best_are_sorted_and_hold_the_greedy_token(self):
        row = self.row("plain")
        self.assertEqual(row.ids, CASE["greedy_ids"])
        for token, logprob, top in zip(row.ids, row.logprobs, row.top):
            self.assertEqual(len(top), 3)
            self.assertEqual(top[0], (token, logprob))
            self.assertEqual([value for _, value in top],
                             sorted((value for _, value in top), reverse=True))
            self.assertLessEqual(sum(math.exp(value) for _, value in top), 1 + 1e-5)

    def test_an_end_waits_for_min_tokens(self):
        self.assertEqual(self.row("end").ids, [END_OF_SEQUENCE])
        self.assertEqual(self.row("end").text, "")
        row = self.row("min-tokens")
        self.assertEqual(row.ids, CASE["greedy_ids"][:5] + [END_OF_SEQUENCE])
        self.assertEqual(row.finish_reason, "stop")
        row = self.row("ignored-end")
        self.assertEqual(row.ids, [END_OF_SEQUENCE] * 6)
        self.assertEqual(row.finish_reason, "length")

    def test_text_ends_before_a_stop_string(self):
        row = self.row("stop")
        self.assertEqual(row.text, CASE["greedy_text"].partition("d, and")[0])
        self.assertEqual(row.ids, CASE["greedy_ids"][:len(row.ids)])
        self.assertLess(len(row.ids), 32)
        self.assertEqual(row.finish_reason, "stop")

    def test_ids_end_with_a_stop_token_that_the_text_leaves_out(self):
        row = self.row("stop-ids")
        self.assertEqual(row.ids,
                         CASE["greedy_ids"][:CASE["greedy_ids"].index(COMMA) + 1])
        self.assertEqual(row.text, CASE["greedy_text"].partition(",")[0])
        self.assertEqual(row.finish_reason, "stop")

    def test_a_bias_moves_the_choice_and_not_the_log_probability(self):
        first, second = self.row("plain").top[0][:2]
        row = self.row("forbidden")
        self.assertEqual(row.ids, [second[0]])
        self.assertAlmostEqual(row.logprobs[0], second[1], delta=1e-5)
        self.assertGreater(first[1], second[1])

    def test_filters_that_leave_one_candidate_are_greedy(self):
        for name in ("top-k-1", "small-top-p", "min-p-1"):
            self.assertEqual(self.row(name).ids, CASE["greedy_ids"], name)

    def test_draws_are_those_of_the_definition(self):
        num_checked = 0
        for name in ("drawn", "drawn-alike", "drawn-top-p", "drawn-min-p"):
            fields = ROWS[name]
            for sample in range(fields.get("n", 1)):
                row = self.row(name, sample)
                for at, (token, top) in enumerate(zip(row.ids, row.top)):
                    keep = kept(top, fields["temperature"], fields.get("top_p", 1),
                                fields.get("min_p", 0))
                    values = sorted((
                        (value / fields["temperature"]
                         + noise(fields.get("seed", 0), INDEX[name], sample,
                                 len(CASE["prompt_ids"]) + at, candidate), candidate)
                        for candidate, value in keep), reverse=True)
                    if len(values) > 1 and values[0][0] - values[1][0] < MARGIN:
                        continue
                    num_checked += 1
                    self.assertEqual(token, values[0][1], f"{name} sample {sample} token {at}")
        self.assertGreater(num_checked, 150)

    def test_equal_prompts_and_samples_draw_differently(self):
        texts = {tuple(self.row(name, sample).ids)
                 for name in ("drawn", "drawn-alike") for sample in range(3)}
        self.assertEqual(len(texts), 6)

    def test_the_seed_decides(self):
        again = self.run_job(2)
        for key, row in self.rows.items():
            self.assertEqual(again[key].said(), row.said(), key)
        other = self.run_job(0, "--seed", 1)
        self.assertNotEqual(other["drawn", 0].ids, self.row("drawn").ids)
        self.assertEqual(other["drawn-min-p", 0].ids, self.row("drawn-min-p").ids,
                         "a row's own seed wins")

    def test_penalties_act_on_what_was_generated(self):
        num_checked = 0
        for name, presence, frequency in (("presence", 1.5, 0), ("frequency", 0, 0.75)):
            row = self.row(name)
            for at, (token, top) in enumerate(zip(row.ids, row.top)):
                counts = {candidate: row.ids[:at].count(candidate) for candidate, _ in top}
                values = sorted(((value - presence * (counts[candidate] > 0)
                                  - frequency * counts[candidate], candidate)
                                 for candidate, value in top), reverse=True)
                outside = top[-1][1]  # nothing that is not listed is better than this
                if values[0][0] - max(values[1][0], outside) < MARGIN:
                    continue
                num_checked += 1
                self.assertEqual(token, values[0][1], f"{name} token {at}")
            self.assertNotEqual(row.ids, CASE["greedy_ids"][:24], name)
        self.assertGreater(num_checked, 40)

    def test_prompt_log_probabilities_are_those_of_generating(self):
        scored = self.program.results("results.h5")["scored"]["response"]["body"]["choices"][0]
        values = scored["prompt_logprobs"]
        self.assertEqual(len(values), len(CASE["prompt_ids"]) + 32)
        self.assertIsNone(values[0])
        for got, wanted in zip(values[len(CASE["prompt_ids"]):], self.row("plain").logprobs):
            self.assertAlmostEqual(got, wanted, delta=2e-4)


if __name__ == "__main__":
    TRIREME = sys.argv.pop(1)
    unittest.main(verbosity=2)
