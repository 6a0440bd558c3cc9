"""What we are compared with. Each peer is a folder with a locked environment of its own and one script.

    peers/NAME/pyproject.toml  uv.lock  run.py

`run.py` gets its arguments on the command line, its lines (if any) on standard input, and ends with one JSON line on
standard output. It imports nothing of ours, so that its environment is its own.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import StartupError

FOLDER = Path(__file__).parent


def run(name: str, cache: Path, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The peer's last line. Its environment is made in the cache the first time; raises StartupError when it fails."""
    environ = environment(name, cache) | dict(env or {})
    found = subprocess.run(command(name, *args), input=stdin, capture_output=True, env=environ)
    if found.returncode:
        raise StartupError(f"peer {name} failed ({found.returncode}): {found.stderr.decode(errors='replace')[-2000:]}")
    last: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return last


def command(name: str, *args: str) -> list[str]:
    home = str(FOLDER / name)
    return ["uv", "run", "--quiet", "--frozen", "--project", home, "python", f"{home}/run.py", *args]


def environment(name: str, cache: Path) -> dict[str, str]:
    """Variables with which `uv run --project` uses the peer's own environment."""
    kept = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    return kept | {"UV_PROJECT_ENVIRONMENT": str((cache / "peers" / name).expanduser().resolve())}
