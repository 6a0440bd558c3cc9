"""Open WebUI and the driver of the browser: environments of their own in the cache, from lock files with hashes."""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.locks import held
from schemas.errors import StartupError

Report = Callable[[str], None]  # what happens now
HERE: Final = Path(__file__).parent
CHROMIUM: Final = Path("/usr/bin/chromium")
STAMP: Final = "freshet-lock.sha256"  # written last: an interrupted installation has none
PROGRESS_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """`folder` holds pyproject.toml and uv.lock; the sizes are what a first installation takes."""

    folder: str
    title: str
    download_mb: int
    disk_mb: int


PRODUCT: Final = Environment(folder="product", title="Open WebUI 0.12.4", download_mb=250, disk_mb=770)
BROWSER: Final = Environment(folder="browser", title="Playwright 1.65.2", download_mb=50, disk_mb=200)


def home_of(environment: Environment, cache: Path) -> Path:
    """Where it is installed; the name changes with the lock file, so a stale one is never used."""
    return cache.expanduser().resolve() / "webui" / f"{environment.folder}-{_locked(environment)[:8]}"


def is_installed(environment: Environment, cache: Path) -> bool:
    """Whether all of it is there. Looks at the stamp only."""
    return (home_of(environment, cache) / STAMP).is_file()


def install(environment: Environment, cache: Path, report: Report) -> Path:
    """Its folder, installed first when the cache has none. Blocks while another process installs.

    Raises StartupError that says what is missing (uv, space, network) and what to do.
    """
    home = home_of(environment, cache)
    if is_installed(environment, cache):
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with held(home.parent / "lock"):
        if not is_installed(environment, cache):
            report(f"downloading {environment.title} into {home}: {environment.disk_mb} MB on disk, once")
            _require_space(environment, home.parent)
            _sync(environment, home, find_uv(cache), report)
            (home / STAMP).write_text(_locked(environment))
    return home


def find_uv(cache: Path) -> str:
    """The one on the PATH, else the one that deploy/bootstrap.sh brought. Raises StartupError."""
    own = cache.expanduser() / "uv" / "bin" / "uv"
    found = shutil.which("uv") or (str(own) if own.is_file() else None)
    if found is None:
        raise StartupError(f"no uv on the PATH nor at {own}: run deploy/bootstrap.sh, which brings it")
    return found


def chromium() -> Path:
    """The distribution's browser. Raises StartupError when there is none."""
    if not CHROMIUM.is_file():
        raise StartupError(f"no browser at {CHROMIUM}: run `make ui` (apt-get install chromium fonts-dejavu-core)")
    return CHROMIUM


def _locked(environment: Environment) -> str:
    return hashlib.sha256((HERE / environment.folder / "uv.lock").read_bytes()).hexdigest()


def _require_space(environment: Environment, folder: Path) -> None:
    free_mb = shutil.disk_usage(folder).free >> 20
    needed_mb = environment.disk_mb + environment.download_mb  # uv keeps what it downloads
    if free_mb < needed_mb:
        raise StartupError(
            f"{environment.title} needs {needed_mb} MB in {folder} and {free_mb} MB are free: make room, "
            "or point FRESHET_CACHE (and UV_CACHE_DIR) at another disk"
        )


def _sync(environment: Environment, home: Path, uv: str, report: Report) -> None:
    kept = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    command = [uv, "sync", "--frozen", "--no-progress", "--color=never", "--project", str(HERE / environment.folder)]
    began = time.monotonic()
    with subprocess.Popen(
        command,
        env={"UV_HTTP_TIMEOUT": "180", **kept, "UV_PROJECT_ENVIRONMENT": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while True:
            try:
                _, said = process.communicate(timeout=PROGRESS_S)
                break
            except subprocess.TimeoutExpired:
                report(f"{environment.title}: still downloading after {time.monotonic() - began:.0f} s")
    if process.returncode:
        reasons = [line.strip(" ├─▶╰×│") for line in said.splitlines() if line.strip() and "hint:" not in line]
        raise StartupError(
            f"cannot install {environment.title}: {' / '.join(reasons[-3:]) or process.returncode}. It needs the "
            "network once (PyPI; HTTPS_PROXY is honoured); run the same command again, it goes on with what is missing"
        )
