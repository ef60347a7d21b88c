#!/usr/bin/env python3
"""Mixes bad rows of every kind with good ones: each gets its error, the others their tokens.

usage: bad_rows_test.py TRIREME PROMPT_FILES
"""
import subprocess
import sys

from program import DATA, Program, chosen_ids

RANKS = 2
DEMO = DATA / "demo"
GOLDEN = DATA / "goldens" / "qwen3_moe"

GOOD = {"messages": None, "prompt": "The wise man", "max_tokens": 4, "temperature": 0}

# id -> the row and the words of its error; none: a good row.
ROWS = {
    "good-0": (GOOD, None),
    "too-long": ({"prompt": "word " * 3000}, "the prompt has 3001 tokens, but max_seq_len is 2048"),
    "unsupported": ({"prompt": "a", "response_format": {"type": "json_schema"}},
                    'field response_format with value {"type":"json_schema"} is not supported'),
    "unknown-field": ({"prompt": "a", "max_tokenz": 3}, "field max_tokenz with value 3"),
    "messages": ({"messages": [{"role": "user", "content": "a"}]},
                 "has no chat_template.jinja and no chat_template in its tokenizer_config.json"),
    "bad-message": ({"messages": ["a"]}, "expected an object"),
    "good-1": (GOOD, None),
    "no-such-token": ({"prompt": [5, 8192]}, "the prompt holds token id 8192, but the model has 8192"),
    "negative-token": ({"prompt": [5, -1]}, "-1 is one of its token ids"),
    "empty": ({"prompt": ""}, "the prompt has no tokens"),
    "no-prompt": ({"max_tokens": 3}, "has none of messages, prompt, input"),
    "too-hot": ({"prompt": "a", "temperature": -1}, "temperature: -1, expected 0 or a number"),
    "stop-token": ({"prompt": "a", "stop_token_ids": [9000]}, "stop_token_ids holds token id 9000"),
    "bias": ({"prompt": "a", "logit_bias": {"9000": 1}}, "logit_bias holds token id 9000"),
    "too-many": ({"prompt": "a", "n": 257}, "n: 257, expected an integer from 1 to 256"),
    "min-max": ({"prompt": "a", "min_tokens": 5, "max_tokens": 4},
                "min_tokens is 5, expected at most max_tokens, which is 4"),
    "good-2": (GOOD, None),
}

failures = []


def check(holds, what, outcome=""):
    if not holds:
        failures.append(f"{what}\n{outcome}\n")


def mixed_requests(program):
    rows = [{"custom_id": name, "method": "POST", "url": "/v1/completions",
             "body": {k: v for k, v in body.items() if v is not None}}
            for name, (body, _) in ROWS.items()]
    program.prompts("mixed.h5", rows)
    line = ["run", "--model", DEMO, "--prompts", "mixed.h5", "--max-tokens", 4]
    outcome = program(*line, "--output", "mixed-results.h5", ranks=RANKS)
    num_bad = sum(error is not None for _, error in ROWS.values())
    check(outcome.code == 0, "rows that fail do not fail the job", outcome)
    check(f"rows       {len(ROWS)} ({len(ROWS) - num_bad} ok, {num_bad} failed)" in outcome.stderr,
          "the report counts the failed rows", outcome)
    check("first error: row 1: " in outcome.stderr, "the report names the first bad row", outcome)
    check("ROWS FAILED" not in outcome.stderr, "not all rows failed", outcome)

    results = program.results("mixed-results.h5")
    check(list(results) == list(ROWS), "every row has a result, in order", list(results))
    texts = set()
    for name, (_, error) in ROWS.items():
        line_of = results.get(name, {})
        if error is None:
            check(line_of.get("error", "none") is None, f"{name}: is good", line_of)
            texts.add(line_of["response"]["body"]["choices"][0]["message"]["content"])
        else:
            check(line_of.get("response", "none") is None, f"{name}: has no response", line_of)
            said = (line_of.get("error") or {}).get("message", "")
            check(error in said, f"{name}: expected the words {error!r}", line_of)
    check(len(texts) == 1 and texts != {""}, "equal good rows give equal texts", texts)

    strict = program(*line, "--output", "strict.h5", "--strict", ranks=RANKS)
    check(strict.code == 10, "--strict: exit code 10", strict)
    check(program.results("strict.h5") == results, "--strict changes no result")


def all_bad(program):
    program.prompts("all-bad.h5", [{"messages": [{"role": "user", "content": "a"}]}] * 3)
    outcome = program("run", "--model", DEMO, "--prompts", "all-bad.h5", "--output", "all-bad-r.h5",
                      "--log-level", "error", ranks=RANKS)
    check(outcome.code == 0, "exit code 0", outcome)
    check(outcome.stderr.count("ALL 3 ROWS FAILED") == 1, "says loudly that all rows failed", outcome)
    check(outcome.stderr.count("first error: row 0: messages need a chat template") == 1,
          "shows the first error", outcome)
    plan = program("plan", "--model", DEMO, "--prompts", "all-bad.h5")
    check("every row will be an error" in plan.stderr, "plan warns of it", plan)


def bytes_and_ids(program):
    """Columns that only other programs write."""
    line = ["run", "--max-tokens", 3, "--temperature", 0, "--logprobs", "true"]
    outcome = program(*line, "--model", DEMO, "--prompts", "bytes.h5", "--output", "bytes-r.h5",
                      ranks=RANKS)
    check(outcome.code == 0, "exit code 0", outcome)
    results = program.results("bytes-r.h5")
    check("bad UTF-8 at byte 2" in results["1"]["error"]["message"], "names the byte", results["1"])
    for name in ("0", "2"):
        check(results[name]["error"] is None and len(chosen_ids(results[name])) <= 3,
              f"row {name} is good", results[name])

    outcome = program(*line, "--model", GOLDEN, "--prompts", "ids.h5", "--output", "ids-r.h5",
                      ranks=RANKS)
    check(outcome.code == 0, "exit code 0", outcome)
    results = program.results("ids-r.h5")
    check("the prompt holds token id 2000000000, but the model has 512 tokens" in
          results["1"]["error"]["message"], "names the id", results["1"])
    for name in ("0", "2"):
        check(results[name]["error"] is None, f"row {name} is good", results[name])

    # Requests may mix: without a tokenizer the texts among them are errors.
    program.prompts("no-tokenizer.h5", [{"prompt": [5, 6], "max_tokens": 2},
                                        {"prompt": "text", "top_k": 3}])
    outcome = program(*line, "--model", GOLDEN, "--prompts", "no-tokenizer.h5", "--output",
                      "no-tokenizer-r.h5", ranks=RANKS)
    results = program.results("no-tokenizer-r.h5")
    check(results["0"]["error"] is None, "ids need no tokenizer", outcome)
    check("tokenizer.json is not there" in results["1"]["error"]["message"], "names the file",
          results["1"])


def main():
    trireme, prompt_files = sys.argv[1:]
    with Program(trireme) as program:
        subprocess.run([prompt_files, program.folder, GOLDEN / "golden.h5"], check=True)
        mixed_requests(program)
        all_bad(program)
        bytes_and_ids(program)
    print("\n".join(failures))
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
