"""Starts trireme as a user does: alone, or as ranks through tools/launch.sh. Standard library only."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

PROJECT = pathlib.Path(__file__).resolve().parents[2]
DATA = PROJECT / "tests" / "data"
TIMEOUT_S = 120  # of one command; the slowest here takes about 2 s
QUIET = {"OMP_WAIT_POLICY": "passive"}  # threads that spin wait for each other on a busy machine


class Outcome:
    """How a command ended and what it said."""

    def __init__(self, arguments, finished):
        self.arguments = [str(a) for a in arguments]
        self.code = finished.returncode
        self.stdout = finished.stdout.decode("utf-8", "replace")
        self.stderr = finished.stderr.decode("utf-8", "replace")

    def __str__(self):
        return f"$ {' '.join(self.arguments)}\n{self.stdout}{self.stderr}exit code {self.code}"


class Program:
    """The program under test, in a folder of its own."""

    def __init__(self, trireme):
        self.trireme = pathlib.Path(trireme).resolve()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trireme-e2e-"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def __call__(self, *arguments, ranks=0, environment=None, **options):
        """Runs a command in the folder; `ranks` > 0 starts it as ranks of a job."""
        line = [str(self.trireme), *map(str, arguments)]
        if ranks:
            line = [str(PROJECT / "tools" / "launch.sh"), "-n", str(ranks), *line]
        finished = subprocess.run(line, cwd=self.folder, capture_output=True, timeout=TIMEOUT_S,
                                  stdin=subprocess.DEVNULL,
                                  env={**os.environ, **QUIET, **(environment or {})}, **options)
        return Outcome(line, finished)

    def files(self):
        """Everything in the folder, to see what a command left behind."""
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*"))

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def prompts(self, name, rows):
        """A prompt file of rows as `prompts import` reads them."""
        lines = self.write(name + ".jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        made = self("prompts", "import", lines, name)
        lines.unlink()
        if made.code != 0:
            raise RuntimeError(str(made))
        return self.folder / name

    def results(self, name):
        """The lines of `results export`, by custom id."""
        exported = self("results", "export", name, "--jsonl", "-")
        if exported.code != 0:
            raise RuntimeError(str(exported))
        lines = [json.loads(line) for line in exported.stdout.splitlines()]
        return {line["custom_id"]: line for line in lines}

    def model(self, name, source, change=None):
        """A copy of a model's folder; `change` edits its config.json."""
        copy = self.folder / name
        shutil.copytree(source, copy)
        if change:
            config = json.loads((copy / "config.json").read_text())
            config.update(change)
            (copy / "config.json").write_text(json.dumps(config))
        return copy


def chosen_ids(line):
    """The token ids of an exported line, which must have been asked for log-probabilities."""
    choice = line["response"]["body"]["choices"][0]
    return [int(token["token"].removeprefix("token_id:")) for token in choice["logprobs"]["content"]]
