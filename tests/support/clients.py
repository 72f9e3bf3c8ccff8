"""Starts real clients as their users do: a process of their own, their cache where we say, a local Hub to talk to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE_S = 240  # less than pytest's own limit, so that a client that hangs is named


@dataclass(frozen=True, slots=True)
class Clients:
    """Where clients run: `home` is their `HF_HOME`, `hub` the URL of their Hub, `scratch` their `HOME`, unmounted."""

    home: Path
    hub: str
    scratch: Path
    env: Mapping[str, str] = field(default_factory=dict)
    enter: Callable[[Path], list[str]] = lambda directory: []
    """The beginning of a command line that runs the rest on another computer, in a directory."""

    def environment(self, **extra: str) -> dict[str, str]:
        """Nothing of the caller's environment but the path: no token, no other cache, no CI marker."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.scratch),
            "HF_HOME": str(self.home),
            "HF_ENDPOINT": self.hub,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "TOKENIZERS_PARALLELISM": "false",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "2",
            **self.env,
            **extra,
        }

    @contextmanager
    def start(self, module: str, *args: str, **env: str) -> Iterator[subprocess.Popen[str]]:
        """Run `python -m module args` beside the caller, its stdin and stdout open for a talk; killed at the end."""
        with subprocess.Popen(
            [*self.enter(self.scratch), sys.executable, "-m", module, *args],
            cwd=self.scratch,
            env=self.environment(**env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def start_client(self, client: str, *args: str, **env: str) -> AbstractContextManager[subprocess.Popen[str]]:
        """Start `tests/workload/clients/{client}.py`."""
        return self.start(f"tests.workload.clients.{client}", *args, **env)

    def start_hf(self, *args: str, **env: str) -> AbstractContextManager[subprocess.Popen[str]]:
        """Start the `hf` command line."""
        return self.start("huggingface_hub.cli.hf", *args, **env)

    def run(self, client: str, *args: str, **env: str) -> Any:
        """Run a client to its end and return what it says: the JSON in its last line of output.

        Raises AssertionError with what it wrote if it fails, subprocess.TimeoutExpired when it takes minutes.
        """
        with self.start_client(client, *args, **env) as process:
            return answer(process)

    def run_with_line(self, client: str, *args: str, meanwhile: Callable[[], object]) -> Any:
        """As `run`, for a client that says a line when it is ready: then `meanwhile` is called and a line sent back."""
        with self.start_client(client, *args) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline():
                meanwhile()
            return answer(process)

    def hf(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the `hf` command line. Its exit code is for the caller to judge."""
        with self.start_hf(*args, **env) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def hf_ok(self, *args: str, **env: str) -> str:
        """As `hf`, where anything but success fails the test; returns its standard output."""
        done = self.hf(*args, **env)
        assert done.returncode == 0, f"hf {' '.join(args)} failed:\n{done.stdout}{done.stderr}"
        return done.stdout


def answer(process: subprocess.Popen[str]) -> Any:
    """What a started client says in its last line, once it has ended well."""
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, f"{process.args!r} ended with {process.returncode}:\n{out}{err}"
    return json.loads(out.splitlines()[-1])
