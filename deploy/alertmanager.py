"""Incidents in a real Alertmanager: starts Debian's, bridges an example to it, and writes down what it then holds.

`python -m deploy.alertmanager` on running services (`make up`) writes `deploy/alertmanager.txt`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer

from deploy.debian import ALERTMANAGER, unpack
from deploy.installation import CHECKOUT, Installation
from deploy.local import services
from processors.registry import registry_client
from processors.terminal import run_command
from schemas.errors import StartupError
from schemas.insights import Insight
from schemas.settings import Settings
from streams.insights.publisher import InsightPublisher
from streams.topics import Broker

EXAMPLE: Final = CHECKOUT / "schemas" / "json" / "incident_insight.example.json"
PATIENCE_S: Final = 60.0
# Groups of one incident each, told at once: what a team would set, but for the waiting.
CONFIGURATION: Final = """\
route: {{receiver: team, group_by: [alertname, incident], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}
receivers:
  - name: team
    webhook_configs: [{{url: "{webhook}", send_resolved: true}}]
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(slots=True)
class Inbox:
    """A receiver of webhooks on a free loopback port. `answers`: statuses of the next requests, then 200."""

    url: str = ""
    got: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    @contextmanager
    def open(self) -> Iterator["Inbox"]:
        inbox = self

        class Desk(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = inbox.answers.pop(0) if inbox.answers else 200
                if status == 200:
                    inbox.got.append(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: the test's output is not ours."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        inbox.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        try:
            yield inbox
        finally:
            server.shutdown()
            server.server_close()


@contextmanager
def alertmanager(cache: Path, webhook: str, port: int = 0) -> Iterator[str]:
    """Its URL, once it answers. It forgets everything when it is stopped."""
    program = unpack(ALERTMANAGER, cache)
    port = port or _free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="freshet-alertmanager-") as folder:
        configuration, log = Path(folder, "alertmanager.yml"), Path(folder, "log")
        configuration.write_text(CONFIGURATION.format(webhook=webhook))
        command = [
            str(program.path), f"--config.file={configuration}", f"--storage.path={folder}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.external-url={url}", "--cluster.listen-address=",
        ]  # fmt: skip
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=program.home, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            wait(lambda: _answers(url), f"Alertmanager at {url}", process, log)
            yield url
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def bridge(
    installation: Installation, folder: Path, *options: str, **settings: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m streams insights bridge`; told to stop at the end, as a supervisor would."""
    log = folder / "bridge.log"
    environment = {"PATH": os.environ["PATH"], "HOME": str(Path.home()), **installation.environment, **settings}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams", "insights", "bridge", *options],
            cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def held(url: str) -> list[dict[str, Any]]:
    """The alerts that an Alertmanager holds."""
    found: list[dict[str, Any]] = httpx.get(f"{url}/api/v2/alerts", timeout=10).raise_for_status().json()
    return found


def wait(
    done: Callable[[], bool], what: str, process: "subprocess.Popen[bytes] | None" = None, log: Path | None = None
) -> None:
    """Poll until `done`. Raises StartupError when it takes too long, or the process behind it has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            words = log.read_text(errors="replace")[-2_000:] if log and log.is_file() else ""
            raise StartupError(f"waited in vain for {what}\n{words}")
        time.sleep(0.1)


def example() -> Insight:
    return Insight.model_validate_json(EXAMPLE.read_bytes())


def ready(installation: Installation) -> InsightPublisher:
    """A publisher onto the topics of this installation, which are made first."""
    settings = settings_of(installation)
    Broker(settings.kafka).create([t for t in settings.topics_table() if t.name == settings.insights.topic], 1)
    return InsightPublisher.from_settings(settings)


def forget(installation: Installation) -> None:
    """All that it made, the schema's subject included."""
    installation.remove()
    settings = settings_of(installation)
    registry = registry_client(settings.registry)
    if registry is None:
        return
    with closing(registry):
        for subject in registry.get_subjects():
            if subject.startswith(f"{installation.name}."):
                registry.delete_subject(subject)
                registry.delete_subject(subject, permanent=True)


def settings_of(installation: Installation) -> Settings:
    nested: dict[str, dict[str, str]] = {}
    for name, value in installation.environment.items():
        section, _, key = name.removeprefix("FRESHET_").lower().partition("__")
        if key and section in ("kafka", "insights", "registry") and key != "inputs":
            nested.setdefault(section, {})[key] = value
    return Settings.model_validate(nested)


@app.command()
def write(
    state: Annotated[Path, typer.Option(help="State directory of the running services.")] = Path(".local"),
    cache: Annotated[Path, typer.Option(help="Folder for downloads.")] = Path("~/.cache/freshet"),
    output: Annotated[Path, typer.Option(help="Where to.")] = CHECKOUT / "deploy" / "alertmanager.txt",
) -> None:
    """Bridge an example incident to a real Alertmanager, and write down what it holds and sends on."""
    endpoints = services.up(state, cache)
    installation = Installation(name="alertmanager-shown", state=state.resolve(), endpoints=endpoints, insights=True)
    try:
        output.write_text(_shown(installation, cache))
    finally:
        forget(installation)
    typer.echo(f"wrote {output}")


def _shown(installation: Installation, cache: Path) -> str:
    stop = threading.Event()
    told = example()
    over = told.updated + timedelta(minutes=20)
    ended = told.model_copy(update={"state": "resolved", "revision": 4, "updated": over, "resolved": over})
    with (
        closing(ready(installation)) as publisher,
        Inbox().open() as inbox,
        alertmanager(cache, inbox.url) as url,
        tempfile.TemporaryDirectory() as folder,
        bridge(installation, Path(folder), FRESHET_BRIDGE__ALERTMANAGER_URL=url),
    ):
        publisher.deliver([told], stop)
        wait(lambda: bool(held(url)) and bool(inbox.got), "the alert")
        active = held(url)
        publisher.deliver([ended], stop)
        wait(lambda: not held(url) and len(inbox.got) > 1, "its end")
    tail = installation.run("streams", "insights", "tail", "--since", "beginning", "--no-follow")
    whole = installation.run("streams", "insights", "show", told.id)
    parts = [
        ("python -m streams insights tail --since beginning --no-follow", tail),
        (f"python -m streams insights show {told.id}", whole),
        ("Alertmanager 0.25 of Debian, GET /api/v2/alerts while the incident lasts", _json(active)),
        ("what it sent to its webhook receiver then, in short", _json(_short(inbox.got[0]))),
        ("and after the incident was resolved (it holds no alert any more)", _json(_short(inbox.got[-1]))),
    ]
    return "\n".join(f"# {title}\n\n{text.rstrip()}\n" for title, text in parts)


def _short(notification: dict[str, Any]) -> dict[str, Any]:
    (alert,) = notification["alerts"]
    kept = {name: alert[name] for name in ("status", "startsAt", "endsAt")} | {
        "summary": alert["annotations"]["summary"]
    }
    return {name: notification[name] for name in ("version", "receiver", "status", "groupLabels")} | {"alerts": [kept]}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    run_command(app)
