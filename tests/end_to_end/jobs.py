"""Jobs of the demonstration model: their prompts, their rows, and jobs that run while a test looks."""
import json
import os
import pathlib
import signal
import subprocess
import time

from program import DATA, PROJECT

DEMO = DATA / "demo"
CONFIGS = PROJECT / "configs"
CASES = json.loads((DEMO / "cases.json").read_text())["cases"]


class Row:
    """One sample of one prompt, as `results export` tells it."""

    def __init__(self, choice, usage):
        self.text = choice["message"]["content"]
        self.finish_reason = choice["finish_reason"]
        self.prompt_tokens = usage["prompt_tokens"]
        content = choice["logprobs"]["content"] if choice["logprobs"] else []
        self.ids = [_id_of(token) for token in content]
        self.logprobs = [token["logprob"] for token in content]
        self.top = [[(_id_of(other), other["logprob"]) for other in token["top_logprobs"]]
                    for token in content]

    def said(self):
        """What must be equal whoever computed the row."""
        return (self.ids, self.text, self.finish_reason, self.prompt_tokens)


def _id_of(token):
    return int(token["token"].removeprefix("token_id:"))


def rows_of(program, name):
    """(custom id, sample) -> Row of a result file; (custom id, None) -> the error of a prompt."""
    rows = {}
    for custom_id, line in program.results(name).items():
        if line["error"] is not None:
            rows[custom_id, None] = line["error"]["message"]
        if line["response"] is None:
            continue
        body = line["response"]["body"]
        for choice in body["choices"]:
            rows[custom_id, choice["index"]] = Row(choice, body["usage"])
    return rows


def demo_flags(prompts, output, *more):
    return ["run", "--model", DEMO, "--prompts", prompts, "--output", output, *more]


class Job:
    """A job that runs beside the test. What it says goes to a file."""

    def __init__(self, program, *arguments, ranks=0, environment=None, launcher=None):
        self.line = [str(program.trireme), *map(str, arguments)]
        if ranks:
            launch = launcher or [str(PROJECT / "tools" / "launch.sh"), "-n", str(ranks)]
            self.line = [*launch, *self.line]
        self.ranks = ranks
        self.program = str(program.trireme)
        self.log = pathlib.Path(program.folder) / "job.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                self.line, cwd=program.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(environment or {})})

    def said(self):
        return self.log.read_bytes().decode("utf-8", "replace")

    def rank_processes(self):
        """The ids of the rank processes that live now."""
        if not self.ranks:
            return [self.process.pid]
        return [pid for pid in _children(self.process.pid) if _runs(pid, self.program)]

    def wait_until(self, condition, limit_s=60):
        """Waits until the condition holds or the job has ended; whether it holds."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if condition():
                return True
            if self.process.poll() is not None:
                return condition()
            time.sleep(0.01)
        raise TimeoutError(f"waited {limit_s} s\n{self.said()}")

    def wait(self, limit_s):
        """The exit code; a shell's for a signal. Kills the job if it takes longer."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"the job did not end within {limit_s} s\n{self.said()}") from None
        return code if code >= 0 else 128 - code

    def kill(self):
        """Ends what is left of it, at once."""
        for pid in self.rank_processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.kill()
        self.process.wait()


def _children(pid):
    found, waiting = [], [pid]
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    while waiting:
        for child in parents.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def _runs(pid, program):
    try:
        return os.readlink(f"/proc/{pid}/exe") == program
    except OSError:
        return False
