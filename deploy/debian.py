"""Programs out of Debian's packages, unpacked into the cache: the system is not touched, nothing is installed.

For what only tests and trials need. Every package has its version and its SHA-256 (`sha256sum *.deb`) here.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.locks import held
from schemas.errors import StartupError

FETCH_S: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    path: str  # below the folder where its packages are unpacked
    packages: tuple[Package, ...]  # its own, and the libraries that not every machine has
    # A folder that its program looks for by an absolute name: by a relative one of the same length after unpacking.
    absolute: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    path: Path
    environment: Mapping[str, str]  # where its libraries are
    home: Path  # where `.usr` leads to its files: to be run there, where it looks for an absolute name


ALERTMANAGER: Final = Program(
    path="usr/bin/prometheus-alertmanager",
    absolute=b"/usr/share/prometheus/alertmanager",  # the templates of its notifications
    packages=(
        Package(
            name="prometheus-alertmanager",
            version="0.25.0-1+b4",
            sha256="4fb9aed15cfe8e0c32408e643ab32a1e41ee87d2cc26f18aeba928b1b0b98ae7",
        ),
    ),
)
# Built without libserdes: it knows no Avro, but headers, keys and the JSON twin.
KCAT: Final = Program(
    path="usr/bin/kcat",
    packages=(
        Package(
            name="kcat",
            version="1.7.1-2",
            sha256="c7634113d7db8e9ca840f7f865afd1d13b43014f2dcf591ed3b5744de80030d3",
        ),
        Package(
            name="librdkafka1",
            version="2.0.2-1",
            sha256="d565b098c1eb5754a9266515e3c282b1d282400903070cbdc42d0f76a14fd9f7",
        ),
        Package(
            name="libyajl2",
            version="2.1.0-3+deb12u2",
            sha256="b512a6efbe735e7c731185a1b3ea477ff306f0c3f6aa2970e85b12f01fe8063b",
        ),
    ),
)


def unpack(program: Program, cache: Path) -> Unpacked:
    """The program, downloaded first when the cache has none. Blocks while another process downloads.

    Raises StartupError when it cannot be had here, or is not what it should be.
    """
    pins = hashlib.sha256(repr(program).encode()).hexdigest()[:8]
    home = cache.expanduser() / "debian" / f"{program.packages[0].name}-{program.packages[0].version}-{pins}"
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with held(home.parent / "lock"):
            if not home.is_dir():
                _fill(home, program)
    libraries = home / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    return Unpacked(path=home / program.path, environment={"LD_LIBRARY_PATH": str(libraries)}, home=home)


def _fill(home: Path, program: Program) -> None:
    if platform.machine() != "x86_64" or not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise StartupError(f"{program.packages[0].name} is taken from Debian's packages for amd64: not on this machine")
    fresh = home.with_name(f"{home.name}.fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for package in program.packages:
        file = _download(package, fresh)
        subprocess.run(["dpkg-deb", "-x", str(file), str(fresh)], check=True, stdin=subprocess.DEVNULL)
        file.unlink()
    if program.absolute:
        _relate(fresh, program)
    fresh.rename(home)  # the last step: an interrupted one leaves no home behind


def _relate(home: Path, program: Program) -> None:
    """Let the program look below its working directory for what its package would have put below /usr."""
    path = home / program.path
    changed, places = re.subn(re.escape(program.absolute) + rb"(?!/)", b"." + program.absolute[1:], path.read_bytes())
    if places != 1:
        raise StartupError(f"{program.path} names {program.absolute.decode()} {places} times, not once")
    path.write_bytes(changed)
    (home / ".usr").symlink_to("usr")


def _download(package: Package, folder: Path) -> Path:
    """With apt's own mirrors and proxies; its lists are fetched first where it has none, which takes root."""
    wanted = f"{package.name}={package.version}"
    fetch = ["apt-get", "-q", "download", wanted]
    said = _run(fetch, folder)
    if said and (os.geteuid() == 0 or shutil.which("sudo")):
        _run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), "apt-get", "-q", "update"], folder)
        said = _run(fetch, folder)
    files = list(folder.glob(f"{package.name}_*.deb"))
    if said or len(files) != 1:
        raise StartupError(f"apt-get cannot download {wanted} ({said}): as root run apt-get update, then this again")
    if hashlib.sha256(files[0].read_bytes()).hexdigest() != package.sha256:
        raise StartupError(f"{wanted} does not have its pinned SHA-256: see deploy/debian.py")
    return files[0]


def _run(command: list[str], folder: Path) -> str:
    """The first complaint; empty when it went well."""
    done = subprocess.run(
        command, cwd=folder, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_S
    )
    if done.returncode == 0:
        return ""
    complaints = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    return complaints[0] if complaints else f"exit code {done.returncode}"
