"""Installing Open WebUI: once, whole or not at all, and plain words when it cannot be. A script plays uv."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from deploy.webui import environments
from deploy.webui.environments import BROWSER, PRODUCT, home_of, install, is_installed
from schemas.errors import StartupError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache with a uv of its own, which notes that it ran."""
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    uv_that(tmp_path, 'mkdir -p "$UV_PROJECT_ENVIRONMENT" && echo "$*" >>"$UV_PROJECT_ENVIRONMENT/ran"')
    return tmp_path


def uv_that(cache: Path, does: str) -> None:
    uv = cache / "uv" / "bin" / "uv"
    uv.parent.mkdir(parents=True, exist_ok=True)
    uv.write_text(f"#!/bin/sh\n{does}\n")
    uv.chmod(0o755)


def test_it_is_installed_once_from_the_lock_file(cache: Path) -> None:
    said: list[str] = []
    home = install(PRODUCT, cache, said.append)
    assert install(PRODUCT, cache, said.append) == home == home_of(PRODUCT, cache)
    (command,) = (home / "ran").read_text().splitlines()
    assert command.startswith("sync --frozen")
    assert "770 MB" in said[0]
    assert len(said) == 1
    assert not is_installed(BROWSER, cache)


def test_a_failure_leaves_nothing_that_looks_installed(cache: Path) -> None:
    uv_that(cache, 'mkdir -p "$UV_PROJECT_ENVIRONMENT"; echo "  × no route to pypi.org" >&2; exit 2')
    with pytest.raises(StartupError, match=r"no route to pypi\.org.*needs the network once.*run the same command"):
        install(PRODUCT, cache, print)
    assert not is_installed(PRODUCT, cache)


def test_too_little_space_is_said_before_anything_is_downloaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(1 << 30, 1 << 30, 5 << 20))
    with pytest.raises(StartupError, match=r"needs 1020 MB .* 5 MB are free: make room"):
        install(PRODUCT, cache, print)


def test_what_is_missing_is_named_with_the_next_step(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "uv" / "bin" / "uv").unlink()
    with pytest.raises(StartupError, match=r"no uv .* run deploy/bootstrap\.sh"):
        install(PRODUCT, cache, print)
    monkeypatch.setattr(environments, "CHROMIUM", tmp_path / "no-chromium")
    with pytest.raises(StartupError, match=r"no browser at .*run `make ui`"):
        environments.chromium()
