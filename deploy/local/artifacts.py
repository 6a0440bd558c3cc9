"""Pinned downloads: Maven fetches a component once, every file is checked, the result is unpacked into the cache."""

import hashlib
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.accounts import let_all_read
from deploy.local.locks import held
from schemas.errors import StartupError

Report = Callable[[str, str], None]  # (service, what happens now)
HERE: Final = Path(__file__).parent
MAVEN_GOAL: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
PROGRESS_S: Final = 5.0
PLUGINS: Final = {
    "opensearch-knn-3.6.0.0.zip": "opensearch-knn",
    "neural-search-3.6.0.0.zip": "opensearch-neural-search",
}
_one_maven = threading.Lock()  # Maven's local repository does not bear two writers


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """What one service is made of; `poms/<name>.xml` says where from, `artifacts.sha256` what it must be."""

    name: str
    version: str
    download_mb: int


KAFKA: Final = Component(name="kafka", version="4.3.0", download_mb=44)
OPENSEARCH: Final = Component(name="opensearch", version="3.6.0", download_mb=195)
REGISTRY: Final = Component(name="registry", version="2.6.13.Final", download_mb=142)


def pinned_digests(component: Component) -> dict[str, str]:
    """SHA-256 by file name, from `artifacts.sha256` (`sha256sum` format, one folder per component)."""
    rows = (line.split() for line in (HERE / "artifacts.sha256").read_text().splitlines())
    prefix = f"{component.name}/"
    return {path.removeprefix(prefix): digest for digest, path in rows if path.startswith(prefix)}


def home_of(component: Component, cache: Path) -> Path:
    """Where a component is unpacked; the name changes with the pins, so a stale one is never used."""
    pins = hashlib.sha256(repr(sorted(pinned_digests(component).items())).encode()).hexdigest()[:8]
    return cache / f"{component.name}-{component.version}-{pins}"


def install(component: Component, cache: Path, report: Report) -> Path:
    """The unpacked component, downloaded first when the cache has none. Blocks while another process downloads.

    Raises StartupError when it cannot be had or stays damaged after a second download.
    """
    home = home_of(component, cache)
    if home.is_dir():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    with _one_maven, held(cache / "lock"):
        if not home.is_dir():
            fetched = cache / "fetch" / component.name
            _fetch(component, fetched, report)
            report(component.name, "unpacking")
            fresh = cache / "fetch" / home.name
            shutil.rmtree(fresh, ignore_errors=True)
            _unpack(fetched, fresh)
            let_all_read(fresh)  # root unpacks, another user runs it
            fresh.rename(home)  # the last step: an interrupted one leaves no home behind
    return home


def tidy(cache: Path) -> None:
    """Drop what downloading left behind (Maven's own copies)."""
    if (cache / "fetch").is_dir():
        with _one_maven, held(cache / "lock"):
            shutil.rmtree(cache / "fetch", ignore_errors=True)


def _fetch(component: Component, target: Path, report: Report) -> None:
    repository = target.with_name("repository")
    for attempt in (1, 2):
        shutil.rmtree(target, ignore_errors=True)
        report(component.name, f"downloading {component.download_mb} MB from Maven Central")
        problem = _run_maven(component, target, repository, report) or _first_damage(component, target)
        if not problem:
            return
        # A damaged file would be copied again from the local repository, so that goes too.
        shutil.rmtree(repository, ignore_errors=True)
        if attempt == 1:
            report(component.name, f"trying once more: {problem}")
    raise StartupError(
        f"{component.name} {component.version} is not in the cache ({target.parent.parent}) and cannot be downloaded: "
        f"{problem}. Check the network (Maven Central; a proxy goes into ~/.m2/settings.xml) and run it again"
    )


def _run_maven(component: Component, target: Path, repository: Path, report: Report) -> str:
    """What Maven complained about, in one line; empty when all went well."""
    maven = shutil.which("mvn")
    if maven is None:
        raise StartupError(
            f"{component.name} {component.version} is not in the cache and downloading it needs Maven: "
            "apt-get install maven (or run deploy/bootstrap.sh)"
        )
    pom = HERE / "poms" / f"{component.name}.xml"
    command = [maven, "-q", "-B", f"-Dmaven.repo.local={repository}", "-f", str(pom), MAVEN_GOAL]
    # Most of the broker's jars are of runtime scope.
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={target}"]
    before, shown = _size_mb(repository), 0
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while True:
            try:
                output, _ = process.communicate(timeout=PROGRESS_S)
                break
            except subprocess.TimeoutExpired:
                fetched = _size_mb(repository) - before
                if fetched > shown:
                    report(component.name, f"{fetched} of {component.download_mb} MB")
                shown = fetched
    return "" if process.returncode == 0 else _complaint(output, process.returncode)


def _size_mb(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) >> 20


def _complaint(output: str, code: int) -> str:
    """The innermost reason in Maven's first error line, which nests causes from left to right."""
    lines = [line for line in output.splitlines() if "[ERROR]" in line] or [f"Maven ended with {code}"]
    reason = lines[0].partition("[ERROR]")[2].partition(" -> [Help")[0] or lines[0]
    outer, marker, inner = reason.rpartition("Could not ")
    return f"{marker}{inner}".strip() if outer else reason.strip()


def _first_damage(component: Component, folder: Path) -> str:
    pins = pinned_digests(component)
    extra = {path.name for path in folder.iterdir()} - pins.keys()
    for name, digest in pins.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return f"{name} does not have its pinned SHA-256"
    return f"{min(extra)} is not pinned" if extra else ""


def _unpack(fetched: Path, home: Path) -> None:
    """Archives are opened, jars of a distribution go into its `lib`; a component of jars alone stays flat."""
    home.mkdir(parents=True)
    distribution = fetched / "opensearch-3.6.0.zip"
    jars = home
    if distribution.is_file():
        opened = home.with_name("opened")
        shutil.rmtree(opened, ignore_errors=True)
        _unzip(distribution, opened)
        home.rmdir()
        (opened / "opensearch-3.6.0").rename(home)
        jars = home / "lib"
    for path in sorted(fetched.iterdir()):
        if path.name in PLUGINS:
            _unzip(path, home / "plugins" / PLUGINS[path.name])
        elif path.suffix == ".jar":
            path.rename(jars / path.name)
        elif path.name.endswith(".tar.gz"):
            subprocess.run(
                ["tar", "-xzf", str(path), "-C", str(home)],
                check=True,
                stdin=subprocess.DEVNULL,
            )


def _unzip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            path = Path(opened.extract(entry, target))
            mode = entry.external_attr >> 16
            if mode and path.is_file():  # zipfile drops the execute bits of bin/
                path.chmod(mode & 0o777)
