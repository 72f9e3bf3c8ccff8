"""Runs measured functions in processes of their own, with what they import already imported.

`python -m tests.bench.client [MODULE:FUNCTION]` calls that function once, to import and warm up, and from then on forks
for each line of JSON on stdin, `{"function": "MODULE:FUNCTION", "arguments": [...]}`. The fork answers with one line on
stdout. So each measurement has a fresh process, and none has imports in its time.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def named(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{function.__qualname__}"


class Client:
    """The process that forks. `ready` is called in it first."""

    def __init__(self, environment: Mapping[str, str], cwd: Path, ready: Callable[[], None] | None = None) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.client", *([named(ready)] if ready is not None else [])],
            cwd=cwd,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, who end it
        )
        self._ready = False

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` answers in a fresh process. Raises RuntimeError with its traceback where it fails."""
        self.wait_until_ready()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"function": named(function), "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._line())
        if "error" in answer:
            raise RuntimeError(f"{named(function)}{arguments}: {answer['error']}")
        return answer["done"]

    def wait_until_ready(self) -> None:
        if not self._ready:
            self._line()
            self._ready = True

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        os.killpg(self._process.pid, signal.SIGKILL)  # a fork that is at work, too
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"a client ended:\n{self._errors.read()}")
        return line


def found(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    called: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return called


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    if len(sys.argv) > 1:
        found(sys.argv[1])()
    gc.collect()
    gc.freeze()  # else the first collection in a fork copies everything
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        function = found(request["function"])
        if pid := os.fork():
            _, status = os.waitpid(pid, 0)
            if status:
                print(json.dumps({"error": f"ended with status {status}"}), file=answers, flush=True)
            continue
        try:
            answer = {"done": function(*request["arguments"])}
        except Exception:  # whatever it is, the harness is to hear it
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
        os._exit(0)


if __name__ == "__main__":
    main()
