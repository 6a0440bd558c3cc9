"""Root causes in PetShop: 34 faults injected into a shop on AWS, told from latencies, availability and request counts.

    python -m tests.evaluation.insights.petshop [--source ../shared/data/metrics/petshop]

Each fault comes as a table of some half hour in steps of five minutes, recorded months before the one table without
faults. That is made its history: its times are moved so that it ends where the fault's table begins. What begins before
the fault comes from the seam and is not passed on to the correlator, which begins with the fault. Ten of the faults
(`train`) may be looked at while building; both halves are reported. `graph.csv` says who calls whom; it is not in the
telemetry, so results with it and without it are two lines. The fault is put at the first row that is not earlier than
the time of the ticket: rows are five minutes, so delays are no finer.
"""

import csv
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from processors.insights.history import History
from processors.insights.step import State
from processors.insights.topology import Topology
from processors.pipeline import Pipeline
from schemas.insights import Entity, Insight
from schemas.records import Message
from schemas.settings import Settings
from schemas.summaries import Told
from tests.benchmarks.machine import hardware
from tests.evaluation.folders import SHARED
from tests.evaluation.insights import peers
from tests.evaluation.insights.rootcause import (
    Answer,
    Case,
    Json,
    by_group,
    given,
    heard,
    hits,
    of_insights,
    of_symptoms,
    scored,
    table,
    tell,
)  # fmt: skip

FOLDER: Final = SHARED / "metrics/petshop"
NORMAL: Final = "low_traffic/noissue/metrics.csv.gz"  # the only table without faults: also of the other traffic
CLUSTER, NAMESPACE = "petshop", "petshop"
STEP_MS: Final = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A table of metrics: value by `service|metric`, or None, for each time."""

    times_ms: Sequence[int]
    columns: dict[str, list[float | None]]

    def moved(self, by_ms: int) -> "Recording":
        return Recording(times_ms=[time + by_ms for time in self.times_ms], columns=self.columns)


def run(source: Path = FOLDER) -> Json:
    """Ours on its whole way, its ranking alone, with and without the graph, and the peers."""
    normal = read(source / NORMAL)
    cases, recordings = [], []
    for folder in sorted(source.glob("*/t*/issue_*"), key=lambda each: (each.parts[-3:-1], int(each.name[6:]))):
        recording = read(folder / "metrics.csv")
        cases.append(_case(folder, recording))
        recordings.append(recording)
    results: dict[str, Any] = {}
    for name, graph in (("without graph", False), ("with graph.csv", True)):
        whole, alone = _ours(source, normal, cases, recordings, graph=graph)
        results[f"ours, {name}"] = by_group(cases, whole, scored)
        results[f"ours, all symptoms, {name}"] = by_group(cases, alone, scored)
    tables = [_table(normal, case, recording) for case, recording in zip(cases, recordings, strict=True)]
    for name, topology in (("without graph", Topology()), ("with graph.csv", _graph(source))):
        answers = [given(each, CLUSTER, NAMESPACE, topology) for each in tables]
        results[f"ours, told when, {name}"] = by_group(cases, [each.services for each in answers], hits)
    for name, rows in peers.rankings(tables).items():
        results[name] = by_group(cases, rows, hits)
    return {"set": "petshop", "results": results, "table": table("PetShop, service at fault", results)}


def read(path: Path) -> Recording:
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as lines:
        services, metrics, statistics, _, *rows = csv.reader(lines)
    # A sum here is of one period; `_sum` would say that it only ever grows.
    parts = zip(services[1:], metrics[1:], statistics[1:], strict=True)
    names = [f"{s}|{m}" if t == "Sum" else f"{s}|{m}_{t.lower()}" for s, m, t in parts]
    columns = {name: [float(row[at]) if row[at] else None for row in rows] for at, name in enumerate(names, 1)}
    return Recording(times_ms=[int(float(row[0]) * 1000) for row in rows], columns=columns)


def _case(folder: Path, recording: Recording) -> Case:
    told = json.loads((folder / "target.json").read_text())
    ticket_ms = told["target"]["timestamp"] * 1000
    traffic, half = folder.parts[-3:-1]
    return Case(
        id="/".join(folder.parts[-3:]), group=f"{traffic.removesuffix('1')} {half}", kind=told["target"]["metric"],
        inject_ms=next(time for time in recording.times_ms if time >= ticket_ms), service=told["root_cause"]["node"],
    )  # fmt: skip


def _ours(
    source: Path, normal: Recording, cases: Sequence[Case], recordings: Sequence[Recording], *, graph: bool
) -> tuple[list[Answer], list[Answer]]:
    """The product's own route: adapter's JSON, pipeline, fold, summaries, step. One configuration, the default one."""
    settings, whole, alone = Settings(), [], []
    state = State(settings.detection, settings.correlation)
    if graph:
        state.cluster(CLUSTER).topology = _graph(source)
    end_ms = normal.times_ms[-1]
    for told, sent_ms in _told(normal, settings):
        tell(state, told, sent_ms)
    known = orjson.dumps(state.dump())
    for case, recording in zip(cases, recordings, strict=True):
        again = State.load(orjson.loads(known), settings.detection, settings.correlation)
        by_ms = end_ms + STEP_MS - recording.times_ms[0]
        ear = heard(again, CLUSTER, since_ms=case.inject_ms + by_ms - STEP_MS + 1)
        insights: list[tuple[int, Insight]] = []
        for told, sent_ms in _told(recording.moved(by_ms), settings):
            insights += [(sent_ms, insight) for insight in tell(again, told, sent_ms)]
        whole.append(of_insights([(at_ms - by_ms, insight) for at_ms, insight in insights]))
        alone.append(of_symptoms([(at_ms - by_ms, sign) for at_ms, sign in ear.heard], again, CLUSTER, case))
    return whole, alone


def _graph(source: Path) -> Topology:
    """Who calls whom, as it was given beside the telemetry."""
    topology = Topology()
    for path in sorted(source.glob("*/graph.csv")):
        with path.open(newline="") as lines:
            names, *rows = csv.reader(lines)
        for caller, *called in rows:
            for callee, calls in zip(names[1:], called, strict=True):
                if float(calls or 0):
                    topology.connect(Entity("workload", caller, NAMESPACE), Entity("workload", callee, NAMESPACE))
    return topology


def _told(recording: Recording, settings: Settings) -> Iterator[tuple[list[Told], int]]:
    """Samples as prometheus-kafka-adapter writes them, and what a worker tells of them."""
    history = History(Pipeline.from_settings(settings))
    offset = 0
    for at, time_ms in enumerate(recording.times_ms):
        for name, values in recording.columns.items():
            if (value := values[at]) is not None:
                message = Message("metrics", "petshop", 0, offset, time_ms, None, _sample(name, value, time_ms))
                offset += 1
                if told := history.take(message):
                    yield told, history.now_ms
    yield history.flush(), history.now_ms


def _sample(column: str, value: float, time_ms: int) -> bytes:
    service, metric = column.split("|", 1)
    labels = {"__name__": metric, "cluster": CLUSTER, "namespace": NAMESPACE, "service": service}
    return orjson.dumps({"timestamp": time_ms // 1000, "value": repr(value), "name": metric, "labels": labels})


def _table(normal: Recording, case: Case, recording: Recording) -> peers.Table:
    """What the peers get: the table without faults, then the fault's. Columns of both only."""
    shared = [name for name in recording.columns if name in normal.columns]
    before = normal.moved(recording.times_ms[0] - STEP_MS - normal.times_ms[-1])
    return peers.Table(
        times=[*before.times_ms, *recording.times_ms], inject=case.inject_ms,
        columns={name: peers.filled([*normal.columns[name], *recording.columns[name]]) for name in shared},
    )  # fmt: skip


def main(source: Annotated[Path, typer.Option(help="The recordings.")] = FOLDER) -> None:
    """Rank root causes of PetShop's faults, beside peers."""
    result = run(source)
    sys.stdout.write(result.pop("table") + "\n" + json.dumps({"ok": True, **result, "hardware": hardware()}) + "\n")


if __name__ == "__main__":
    typer.run(main)
