"""`make demo`: the main job on real services, from nothing to a checked answer.

Every step is a command that a user could type; the printed times are of this run.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer
from rich.console import Console
from rich.table import Table

from cag.lag import LagReader
from deploy.installation import Installation
from deploy.judge import ranks
from deploy.local import processes, services
from deploy.shop.delivery import RUNBOOKS, paced, publish
from deploy.shop.incidents import KINDS, Incident
from deploy.shop.player import Scenario, all_incidents, play, single_incident
from deploy.shop.topology import CLUSTER
from deploy.webui import environments, server
from schemas.context import Context
from schemas.errors import FreshetError
from schemas.settings import InputSettings, Kafka

STATE: Final = Path(".local")
FOREVER: Final = timedelta(days=365)
TOP: Final = 5  # the planted cause must be among this many
INSIGHTS_S: Final = 20.0  # an incident is on its topic by then, or will not be
out = Console(highlight=False)


@contextmanager
def step(text: str) -> Iterator[Callable[[str], None]]:
    """One line of progress, with its time; the caller may add what came out of it."""
    start, said = time.monotonic(), ""

    def note(more: str) -> None:
        nonlocal said
        said = f"  {more}"

    with out.status(text):
        yield note
    out.print(f"[green]✓[/] {text:<46} {time.monotonic() - start:6.1f} s[dim]{said}[/]", soft_wrap=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one question was answered, against what was planted."""

    incident: Incident
    context: Context
    found: tuple[int | None, ...]  # rank of each planted piece of evidence for the cause
    guide: int | None  # rank of the right runbook section among runbook sections
    milliseconds: float

    @property
    def ok(self) -> bool:
        """Some planted cause is in the top evidence; the others say the same in other signals."""
        return any(rank is not None and rank <= TOP for rank in self.found)


def judge(installation: Installation, incident: Incident, now: datetime) -> Verdict:
    start = time.perf_counter()
    context = installation.context(incident.question, now)
    spent = (time.perf_counter() - start) * 1000
    planted = [e.as_json() for e in (*incident.cause, incident.runbook) if e.kind != "object"]
    # The same kind may play in another namespace: what is cited must be of this one, or of the cluster.
    near = [e for e in context.evidence if e.namespace in (incident.namespace, "kube-system", "default", "")]
    own = [e if e in near else e.model_copy(update={"kind": "log", "text": ""}) for e in context.evidence]
    *causes, guide = ranks(planted, own)
    return Verdict(incident=incident, context=context, found=tuple(causes), guide=guide, milliseconds=spent)


def prepare(state: Path, cache: Path, name: str, *, until_pid: int | None = None) -> Installation:
    """Services up, old runs of this name removed, topics made.

    With `until_pid` all that was started ends when that process does, however it does; services that ran before stay.
    """
    own = until_pid if all(service.state == "stopped" for service in services.status(state)) else None
    with step("services: Kafka, OpenSearch, Redis, registry") as note:
        endpoints = services.up(state, cache, report=lambda service, text: note(f"{service}: {text}"), until_pid=own)
        running = services.status(state)
        note(", ".join(f"{s.name} {s.memory_mb} MB" for s in running))
    installation = Installation(name=name, state=state.resolve(), endpoints=endpoints, cluster=CLUSTER, insights=True)
    with step("topics and index templates") as note:
        installation.stop()
        if until_pid:
            installation.stop_with(until_pid)
        installation.remove()
        made = installation.run("streams", "topics", "create")
        note(f"{len(made.splitlines())} topics")
    return installation


def launch(installation: Installation, port: int, scenario: Scenario) -> dict[str, float]:
    """Start worker and API, play the scenario, publish the runbooks, wait until all of it is searchable."""
    figures: dict[str, float] = {}
    with step("worker and API"):
        installation.start_worker()
        installation.start_api(port=port)
    with step(f"runbooks through {installation.name}.runbooks") as note:
        said = json.loads(installation.run("cag", "publish", str(RUNBOOKS), "--json"))
        note(f"{len(said['added']) + len(said['changed'])} published")
    minutes = (scenario.end - scenario.start).total_seconds() / 60
    with step(f"{minutes:.0f} minutes of telemetry into Kafka") as note:
        start = time.monotonic()
        figures["messages"] = publish(play(scenario), installation.endpoints.kafka, topics=installation.topics)
        figures["play_s"] = round(time.monotonic() - start, 1)
        note(f"{figures['messages']:,.0f} messages, {len(scenario.incidents)} incident(s)")
    with step("until every record is searchable"):
        start = time.monotonic()
        installation.wait_indexed(ends_of(installation))
        figures["catch_up_s"] = round(time.monotonic() - start, 1)
    with step("until runbooks and embedding model are ready"):
        installation.wait(lambda: _ready(installation), "the API to become ready", "api", 120)
    return figures


def ends_of(installation: Installation) -> Callable[[], dict[tuple[str, int], int]]:
    inputs = tuple(InputSettings.model_validate({"topic": t, "signal": "log"}) for t in installation.topics.values())
    reader = LagReader(Kafka(bootstrap_servers=installation.endpoints.kafka, inputs=inputs))
    return lambda: reader.ends() or {("kafka does not answer", 0): 1}


def _ready(installation: Installation) -> bool:
    parts = httpx.get(f"{installation.api_url}/readyz", timeout=10).json().get("parts", {})
    return all(str(parts.get(part)) == "ok" for part in ("opensearch", "redis", "embedder"))


def show_answer(installation: Installation, verdict: Verdict, now: datetime) -> None:
    """Ask as a client would, and print question, answer, citations and freshness."""
    body = {
        "model": "freshet",
        "messages": [{"role": "user", "content": verdict.incident.question}],
        "freshet": {"now": now.isoformat()},
    }
    answer = httpx.post(f"{installation.api_url}/v1/chat/completions", json=body, timeout=120).raise_for_status().json()
    out.rule("question")
    out.print(verdict.incident.question)
    out.rule("answer")
    out.print(answer["choices"][0]["message"]["content"], markup=False)
    out.rule("citations")
    for citation in answer["freshet"]["citations"]:
        out.print(f"[{citation['number']}] {citation['kind']:<8}{citation['id']}", markup=False, soft_wrap=True)
        for at in citation.get("coordinates", [])[:1]:
            topic, _, partition, offset, index = at.split("/")
            out.print(f"      {topic} partition {partition} offset {offset} record {index}", markup=False)
    out.rule("check")
    first = verdict.context.evidence[0]
    detail = httpx.get(f"{installation.api_url}/v1/evidence/{first.id}", timeout=30).raise_for_status().json()
    for record in detail["records"][:1]:
        out.print(f"record behind [1], read back from Kafka: {record['status']} sha256 {record['sha256'][:16]}…")
        out.print(f"  {record['text'][:200]}", markup=False)


def show_incidents(installation: Installation) -> int:
    """What subscribers of the insight topic read: each open incident in its newest revision. Returns how many."""
    with step("incidents on the insight topic") as note:
        deadline = time.monotonic() + INSIGHTS_S
        while not (told := _present(installation)) and time.monotonic() < deadline:
            time.sleep(0.5)
        note(f"{len(told)} open")
    out.rule("python -m streams insights tail --present")
    for line in told:
        out.print(line, markup=False, soft_wrap=True)
    return len(told)


def _present(installation: Installation) -> list[str]:
    return installation.run("streams", "insights", "tail", "--present", "--no-follow").splitlines()


def show_table(verdicts: Sequence[Verdict]) -> None:
    table = Table(
        "incident", "namespace", "question", "cause at", "runbook at", "ms", "", title="planted cause in evidence"
    )
    for v in verdicts:
        table.add_row(
            v.incident.kind,
            v.incident.namespace,
            v.incident.question[:60],
            ", ".join(str(rank or "-") for rank in v.found),
            str(v.guide or "-"),
            f"{v.milliseconds:.0f}",
            "[green]PASS[/]" if v.ok else "[red]FAIL[/]",
        )
    out.print(table)


def start_webui(installation: Installation, home: Path, port: int) -> str:
    """Open WebUI in front of the API; returns its address."""
    with step(environments.PRODUCT.title) as note:
        url = server.start(installation, home, port=free_port(port))
        note(url)
    return url


def ask_webui(url: str, question: str) -> bool:
    """Ask through Open WebUI, as its page does; whether a cited answer came back."""
    with step("the same question through Open WebUI") as note:
        answer = server.ask(url, server.sign_in(url), question)
        text = str(answer["choices"][0]["message"]["content"])
        note(f"{len(text)} characters, {len(answer['freshet']['citations'])} sources")
    return bool(text) and bool(answer["freshet"]["citations"])


def play_on(installation: Installation, scenario: Scenario, going: Callable[[], bool] = lambda: True) -> None:
    """Play on at the clock's pace while `going` says so: what is asked later is answered from fresh data too."""
    played_ms = scenario.end.timestamp() * 1000
    later = (m for m in play(scenario, until=scenario.end + FOREVER) if m.timestamp_ms > played_ms)
    due = paced(later, lambda message: message.timestamp_ms / 1000, clock=time.time)
    kept = takewhile(lambda _: going(), due)
    publish(kept, installation.endpoints.kafka, topics=installation.topics)


def stay(installation: Installation, scenario: Scenario, webui: str) -> None:
    """Say how to ask more, and play on until Ctrl-C."""
    page = f"{webui} in your browser; no sign-in" if webui else "`make demo UI=1`, or connect your own"
    out.print(
        f"""
Still running, and the incident goes on. Ask more:
  .venv/bin/python -m api ask "what is wrong in shop?" --url {installation.api_url}
  curl -s {installation.api_url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model":"freshet","messages":[{{"role":"user","content":"what is wrong in shop?"}}]}}'
  Open WebUI: {page} (OpenAI API base URL {installation.api_url}/v1, any key, model freshet)
Ctrl-C stops everything.""",
        markup=False,
        soft_wrap=True,
    )
    try:
        play_on(installation, scenario)
    except KeyboardInterrupt:
        out.print("stopping")


def main(
    every: Annotated[bool, typer.Option("--all", help="all kinds of incident, one shop per seed")] = False,
    incident: Annotated[str, typer.Option(help=f"one of {', '.join(KINDS)}")] = "pool-exhaustion",
    seed: Annotated[int, typer.Option(help="of the single incident")] = 1,
    seeds: Annotated[str, typer.Option(help="with --all: one shop for each")] = "1,2,3",
    minutes: Annotated[float, typer.Option(help="of telemetry, ending now")] = 20.0,
    port: Annotated[int, typer.Option(help="of the API; another is taken when it is not free")] = 8080,
    state: Annotated[Path, typer.Option(help="folder of the services")] = STATE,
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
    name: Annotated[str, typer.Option(help="prefix of its topics, indices and keys")] = "demo",
    keep: Annotated[bool, typer.Option(help="leave everything running at the end")] = False,
    ui: Annotated[bool, typer.Option("--ui", help="Open WebUI beside it, installed first if need be")] = False,
    ui_port: Annotated[int, typer.Option(help="of Open WebUI; another is taken when it is not free")] = 3000,
) -> None:
    """Play incidents into real services, ask about them, check the answers against what was planted.

    Exit code 0 when every planted cause is in the top five pieces of evidence.
    """
    start = time.monotonic()
    if incident not in KINDS:
        raise typer.BadParameter(f"{incident!r}: choose from {', '.join(KINDS)}")
    now = datetime.now(UTC).replace(microsecond=0)
    if every:
        scenario = all_incidents(tuple(int(s) for s in seeds.split(",")), end=now, minutes=minutes)
    else:
        scenario = single_incident(incident, seed=seed, end=now, minutes=minutes)
    found_running = any(s.state == "running" for s in services.status(state))
    installation = None
    try:
        home = environments.install(environments.PRODUCT, cache, typer.echo) if ui else None
        installation = prepare(state, cache, name, until_pid=None if keep else os.getpid())
        figures = launch(installation, free_port(port), scenario)
        with step(f"{len(scenario.incidents)} question(s)"):
            verdicts = [judge(installation, one, now) for one in scenario.incidents]
        if every:
            show_table(verdicts)
        else:
            show_answer(installation, verdicts[0], now)
        figures["incidents_open"] = show_incidents(installation)
        webui = start_webui(installation, home, ui_port) if home else ""
        ok = all(v.ok for v in verdicts) and (not webui or ask_webui(webui, verdicts[0].incident.question))
        memory = memory_mb(state.resolve())
        report(verdicts, {**figures, "memory_mb": memory, "total_s": round(time.monotonic() - start, 1)}, ok=ok)
        if sys.stdout.isatty() and not every:
            stay(installation, scenario, webui)
    except (FreshetError, httpx.HTTPError) as error:
        out.print("[red]error:[/]", str(error), soft_wrap=True, markup=True)
        raise typer.Exit(1) from None
    finally:
        if installation and not keep:
            installation.stop()
        if not keep and not found_running:  # what `make up` started stays until `make down`
            services.down(state)
    if not ok:
        raise typer.Exit(1)


def report(verdicts: Sequence[Verdict], figures: dict[str, Any], *, ok: bool) -> None:
    """The verdict for people, then one JSON line for scripts."""
    best = [min((r for r in v.found if r), default=0) for v in verdicts]
    passed = sum(v.ok for v in verdicts)
    word = "[green]PASS[/]" if ok else "[red]FAIL[/]"
    out.print(f"\n{word}: planted cause in the top {TOP} pieces of evidence for {passed} of {len(verdicts)} incidents")
    guides = sum(v.guide == 1 for v in verdicts)
    summary = {"name": "demo", "ok": ok, "passed": passed, "asked": len(verdicts), "best_ranks": best}
    typer.echo(json.dumps({**summary, "runbook_first": guides, **figures}))


def memory_mb(state: Path) -> int:
    """Resident memory of everything that runs for this state directory."""
    return sum(processes.resident_mb(pids) for pids in processes.running(state).values())


def free_port(wanted: int) -> int:
    """`wanted`, or one that the system picks."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port")


if __name__ == "__main__":
    typer.run(main)
