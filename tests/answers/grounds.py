"""Evidence to answer from: incidents of the shop, and recorded logs, events, alert rules and runbooks if present."""

import csv
import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson
import yaml

from deploy.shop.incidents import KINDS
from deploy.shop.lines import write_line
from deploy.shop.player import Scenario, happenings, single_incident
from deploy.shop.script import Bends, Fires
from deploy.shop.telemetry import Log, Notice, Observation
from processors.template import template
from schemas.context import Evidence, Plan, Span

SHARED: Final = Path(__file__).parents[3] / "shared" / "data"
SHOP_RUNBOOKS: Final = Path(__file__).parents[2] / "deploy" / "shop" / "runbooks"
END: Final = datetime(2026, 11, 20, 13, 20, tzinfo=UTC)
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
PIECES: Final = 10
_STAMPS: Final = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "%Y-%m-%d %H:%M:%S"),
    (re.compile(r"\d{4}-\d\d-\d\d-\d\d\.\d\d\.\d\d"), "%Y-%m-%d-%H.%M.%S"),
    (re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \d{4}"), "%a %b %d %H:%M:%S %Y"),
    (re.compile(r"^\d{6} \d{6}"), "%y%m%d %H%M%S"),
    (re.compile(r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"), "%b %d %H:%M:%S"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What one answer is written from."""

    name: str
    evidence: tuple[Evidence, ...]
    plan: Plan
    others: tuple[str, ...]  # workloads that exist and that this evidence is not about

    @property
    def exist(self) -> frozenset[str]:
        """What the catalog of names would hold."""
        named = (name for piece in self.evidence for name in (piece.workload, piece.namespace))
        return frozenset((*self.others, *filter(None, named)))


def grounds(*, shop_seeds: Iterable[int] = (1, 2), recorded: bool = True) -> Iterator[Ground]:
    """In a fixed order; the recorded ones only where the recordings are."""
    for seed in shop_seeds:
        for number, kind in enumerate(sorted(KINDS)):
            scenario = single_incident(kind, seed=seed, end=END - timedelta(minutes=37 * number + seed), rate=20.0)
            yield _shop(kind, seed, scenario, ZONES[(number + seed) % len(ZONES)])
    if recorded and SHARED.exists():
        yield from (_loghub(name) for name in sorted(p.name for p in (SHARED / "logs/loghub").iterdir() if p.is_dir()))
        yield from _must_gather()


def _plan(question: str, start: datetime, end: datetime, zone: str) -> Plan:
    return Plan(question=question, span=Span(start=start, end=end), zone=zone)


def _shop(kind: str, seed: int, scenario: Scenario, zone: str) -> Ground:
    logs: dict[tuple[str, str], list[Log]] = {}
    events: dict[str, Observation] = {}
    notices: list[Notice] = []
    for one in happenings(scenario):
        if one.at_s >= scenario.end.timestamp():
            break
        if isinstance(one, Log):
            logs.setdefault((one.pod.service.name, template(one.text)), []).append(one)
        elif isinstance(one, Observation):
            events[one.uid] = one
        elif isinstance(one, Notice):
            notices.append(one)
    incident = scenario.incidents[0]
    loud = sorted(logs.values(), key=lambda group: (group[0].level in ("info", "debug"), -len(group)))
    pieces = [_log(group, scenario.estate.cluster) for group in loud[:4]]
    latest = sorted(events.values(), key=lambda seen: (not seen.warning, -seen.count, -seen.at_s))
    pieces += [_event(seen, scenario.estate.cluster) for seen in latest[:3]]
    fires = {row.name for row in incident.rows if isinstance(row, Fires)}
    pieces += [_alert(notice, scenario.estate.cluster) for notice in notices if notice.labels["alertname"] in fires][
        -1:
    ]
    pieces += [_metric(row, scenario) for row in incident.rows if isinstance(row, Bends)][:2]
    fired = next((row.runbook for row in incident.rows if isinstance(row, Fires)), "first-five-minutes.md")
    pieces += _runbook(SHOP_RUNBOOKS / fired)[:2]
    named = " ".join(piece.text + piece.entity + piece.workload for piece in pieces)
    others = tuple(sorted({s for s, _ in logs} - {w for w in {s for s, _ in logs} if w in named}))
    question = f"What is wrong in {incident.namespace}?"
    return Ground(
        name=f"shop/{kind}/{seed}",
        evidence=tuple(pieces),
        plan=_plan(question, scenario.start, scenario.end, zone),
        others=others,
    )


def _log(group: list[Log], cluster: str) -> Evidence:
    last = group[-1]
    pods = {one.pod.name for one in group}
    service = last.pod.service.name
    return Evidence(
        id=f"log-{service}",
        kind="log",
        text=write_line(last)[:600],
        title=f"{service}: {template(last.text)[:70]}",
        cluster=cluster,
        namespace=last.pod.namespace,
        workload=service,
        entity=f"pod/{last.pod.name}" if len(pods) == 1 else f"workload/{service}",
        first=_moment(group[0].at_s),
        last=_moment(last.at_s),
        count=len(group),
        severity=last.level,
    )


def _event(seen: Observation, cluster: str) -> Evidence:
    kind = seen.subject.kind
    return Evidence(
        id=f"event-{seen.uid}",
        kind="event",
        text=f"{seen.reason} {kind}/{seen.subject.name}: {seen.message}",
        title=f"{seen.reason} {kind}/{seen.subject.name}",
        cluster=cluster,
        namespace=seen.subject.namespace,
        entity=f"{kind.lower()}/{seen.subject.name}",
        first=_moment(seen.first_s),
        last=_moment(seen.at_s),
        count=seen.count,
        severity="warn" if seen.warning else "info",
    )


def _alert(notice: Notice, cluster: str) -> Evidence:
    return Evidence(
        id="alert-1",
        kind="alert",
        text=f"Alert {notice.labels['alertname']} is firing: {notice.annotations['summary']}",
        title=notice.labels["alertname"],
        url=notice.annotations["runbook_url"],
        cluster=cluster,
        namespace=notice.labels.get("namespace", ""),
        entity=f"pod/{notice.labels['pod']}" if "pod" in notice.labels else "",
        first=_moment(notice.starts_s),
        last=_moment(notice.at_s),
        severity=notice.labels["severity"],
    )


def _metric(row: Bends, scenario: Scenario) -> Evidence:
    labels = dict(row.series.labels)
    usual, now = row.series.usual, row.to
    bytes_ = "bytes" in row.series.name
    shown = [f"{v / (1 << 20):,.0f}Mi" if bytes_ else f"{v:,.4g}" for v in (now, usual)]
    subject = labels.get("pod") or labels.get("service") or labels.get("node") or labels.get("deployment") or "shop"
    written = ", ".join(f"{k}={v}" for k, v in sorted(labels.items()))
    return Evidence(
        id="metric-1",
        kind="metric",
        text=f"{row.series.name}{{{written}}} of pod/{subject}: now {shown[0]}, at first {shown[1]}, "
        f"range {shown[1]} to {shown[0]} over 20 minutes",
        title=row.series.name,
        cluster=scenario.estate.cluster,
        namespace=labels.get("namespace", ""),
        entity=f"pod/{subject}",
        first=scenario.start,
        last=scenario.end - timedelta(seconds=7),
        count=20,
    )


def _runbook(path: Path) -> list[Evidence]:
    """The sections that say what to look at and what to do."""
    text = path.read_text(encoding="utf-8")
    sections = re.split(r"^## +", text, flags=re.MULTILINE)[1:]
    wanted = [s for s in sections if re.match(r"(?i)diagnosis|mitigation|meaning", s)] or sections
    return [
        Evidence(
            id=f"runbook-{path.stem}",
            kind="runbook",
            title=f"{path.stem} > {section.splitlines()[0].strip()}",
            text=section.partition("\n")[2].strip()[:1800],
            entity=path.name,
            url=f"https://runbooks.example.org/{path.name}",
        )
        for section in wanted[::-1]
    ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _stamp(line: str) -> datetime | None:
    for pattern, form in _STAMPS:
        if found := pattern.search(line):
            text = found.group() if "%Y" in form or "%y" in form else f"2005 {found.group()}"
            form = form if "%Y" in form or "%y" in form else f"%Y {form}"
            return datetime.strptime(f"{text} +0000", f"{form} %z")
    return None


def _loghub(name: str) -> Ground:
    """The commonest templates of one recorded system."""
    folder = SHARED / "logs/loghub" / name
    lines = (folder / f"{name}_2k.log").read_text(encoding="utf-8", errors="replace").splitlines()
    groups: dict[str, list[str]] = {}
    with (folder / f"{name}_2k.log_structured_corrected.csv").open(newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            groups.setdefault(row["EventTemplate"], []).append(lines[int(row["LineId"]) - 1])
    pieces = [
        _recorded_log(group, name.lower(), f"{name.lower()}-0", "recorded")
        for group in sorted(groups.values(), key=len, reverse=True)[:PIECES]
    ]
    return _recorded(f"loghub/{name}", pieces, f"What does {name} complain about?", ZONES[len(name) % 2])


def _recorded(name: str, pieces: list[Evidence], question: str, zone: str) -> Ground:
    start = min(piece.first for piece in pieces if piece.first)
    end = max(piece.last for piece in pieces if piece.last) + timedelta(minutes=3)
    return Ground(
        name=name, evidence=tuple(pieces), plan=_plan(question, start, end, zone), others=("ledger", "router")
    )


def _recorded_log(group: list[str], workload: str, pod: str, namespace: str, stamps: Any = None) -> Evidence:
    times = stamps or [stamp for line in (group[0], group[-1]) if (stamp := _stamp(line))]
    return Evidence(
        id=f"log-{workload}",
        kind="log",
        text=group[-1][:600],
        cluster="lab",
        namespace=namespace,
        workload=workload,
        entity=f"pod/{pod}",
        first=min(times, default=END),
        last=max(times, default=END),
        count=len(group),
        severity="unknown",
    )


def _must_gather() -> Iterator[Ground]:
    """Events and lines of an OpenShift installation by namespace; an alert of published rules, a published runbook."""
    folder = SHARED / "k8s/must-gather-aws"
    lines: dict[str, dict[tuple[str, str], list[Any]]] = {}
    for row in _rows(folder / "pod_logs.jsonl.gz"):
        groups = lines.setdefault(row["namespace"], {})
        groups.setdefault((row["pod"], template(row["message"][:300])), []).append(row)
    events: dict[str, list[Any]] = {}
    for event in _rows(folder / "events.jsonl.gz"):
        if event.get("firstTimestamp") and event["involvedObject"].get("name"):
            events.setdefault(event["involvedObject"].get("namespace", ""), []).append(event)
    alerts = _alert_rules()
    runbooks = sorted((SHARED / "runbooks/corpus/prometheus-operator").rglob("*.md"))
    for number, namespace in enumerate(sorted(lines, key=lambda each: -len(lines[each]))[:8]):
        rng = Random(number)
        pieces = []
        said_before = set[str]()
        for (pod, form), group in sorted(lines[namespace].items(), key=lambda item: -len(item[1])):
            if form in said_before or len(pieces) == 6:
                continue  # ranking shows one of replicas that say the same
            said_before.add(form)
            stamps = [datetime.fromisoformat(row["ts"][:26]).replace(tzinfo=UTC) for row in (group[0], group[-1])]
            said = [row["message"] for row in group]
            workload = re.sub(r"-[0-9a-f]{8,10}-\w{5}$|-\w{5}$", "", pod)
            pieces.append(_recorded_log(said, workload, pod, namespace, stamps))
        often = sorted(events.get(namespace, []), key=lambda event: -event.get("count", 1))
        pieces += [_recorded_event(event) for event in often[:3]]
        pieces.append(rng.choice(alerts).model_copy(update={"namespace": namespace}))
        pieces += _runbook(rng.choice(runbooks))[:1]
        yield _recorded(f"must-gather/{namespace}", pieces, f"What is going on in {namespace}?", ZONES[number % 2])


def _recorded_event(event: Any) -> Evidence:
    subject = event["involvedObject"]
    return Evidence(
        id="event-1",
        kind="event",
        text=f"{event['reason']} {subject['kind']}/{subject['name']}: {event['message']}"[:600],
        title=f"{event['reason']} {subject['kind']}/{subject['name']}",
        cluster="lab",
        namespace=subject.get("namespace", ""),
        entity=f"{subject['kind'].lower()}/{subject['name']}",
        first=datetime.fromisoformat(event["firstTimestamp"]),
        last=datetime.fromisoformat(event["lastTimestamp"]),
        count=event.get("count") or 1,
        severity="warn" if event["type"] == "Warning" else "info",
    )


def _alert_rules() -> list[Evidence]:
    path = SHARED / "alert-rules/monitoring-mixins__website/kubernetes/alerts.yaml"
    rules = [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    return [
        Evidence(
            id="alert-1",
            kind="alert",
            text=f"Alert {rule['alert']} is firing: {rule['annotations']['summary']}",
            title=rule["alert"],
            url=rule["annotations"].get("runbook_url", ""),
            cluster="lab",
            first=datetime(2021, 8, 3, 9, 31, 12, tzinfo=UTC),
            last=datetime(2021, 8, 3, 9, 40, 42, tzinfo=UTC),
            severity=rule["labels"]["severity"],
        )
        for rule in rules
        if "{{" not in rule["annotations"].get("summary", "{{")
    ]


def _rows(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rb") as lines:
        for line in lines:
            yield orjson.loads(line)
