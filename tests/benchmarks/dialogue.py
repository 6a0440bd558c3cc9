"""A process beside ours that does its turns when it is told to: a JSON line in, a JSON line out."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.installation import CHECKOUT
from schemas.errors import StartupError
from tests.benchmarks import peers

CLOSES_S: Final = 30.0


class Dialogue:
    """`close` it. It says {} first, when it is ready: wait for that with `answer`."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        self._log, self._command = log, command
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # `uv run` has a child: they end together
            )

    @classmethod
    def with_peer(cls, name: str, cache: Path, *args: str, log: Path) -> "Dialogue":
        return cls(peers.command(name, *args), env=peers.environment(name, cache), log=log)

    @classmethod
    def with_ours(cls, module: str, *args: str, log: Path, env: Mapping[str, str] | None = None) -> "Dialogue":
        """`python -m module`, in this environment."""
        return cls([sys.executable, "-m", module, *args], env={"PATH": os.environ["PATH"], **(env or {})}, log=log)

    def tell(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Blocks. Raises StartupError when it has ended without one."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            words = self._log.read_text(errors="replace")[-1500:]
            raise StartupError(f"`{' '.join(self._command)}` ended early; its last words:\n{words}")
        said: dict[str, Any] = json.loads(line)
        return said

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.tell(request)
        return self.answer()

    def close(self) -> None:
        """It ends by itself when nothing can be asked any more."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(CLOSES_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
