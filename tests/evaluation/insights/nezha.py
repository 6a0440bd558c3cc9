"""Root causes in Nezha's recordings: 24 faults in Online Boutique, 28 in Train-Ticket, told from metrics and logs.

    python -m tests.evaluation.insights.nezha [--source ../shared/data/rca/nezha]

`inject_time` is used, as UTC. Metrics come once a minute; logs were kept for the minutes of Train-Ticket's faults, and
of one in Online Boutique. Who calls whom is in the telemetry of Online Boutique only (latencies of Istio, by source and
destination). Many faults leave no trace in what was kept; `shown` are those which do, told from the data before
anything is asked: of Train-Ticket those of `tests/evaluation/train_ticket.py`; of Online Boutique those after which a
metric of the injected pod leaves what it was in the hour before by half of that range.

Faults are four to nine minutes apart, nearer than incidents are: each is asked of a correlator that knows nothing of
those before, while baselines and topology go on. Peers get the metrics of the hour before, without other faults.
"""

import csv
import gzip
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from processors.decode.workload import workload_of
from processors.insights.history import History
from processors.insights.step import State
from processors.insights.topology import Topology
from processors.pipeline import Pipeline
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings
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
)
from tests.evaluation.train_ticket import DECODER, SHOWN, UNSEEN

FOLDER: Final = SHARED / "rca/nezha"
DAYS: Final = {"2022-08-22": "boutique", "2023-01-29": "train-ticket"}
MINUTE_MS: Final = 60_000
FAULT_MS: Final = 4 * MINUTE_MS  # the next fault may begin then
ASKED_MS: Final = 8 * MINUTE_MS  # after the injection, unless the next fault begins earlier
BEFORE_MS: Final = 60 * MINUTE_MS
ENOUGH: Final = 10  # minutes known before, without which nothing can stand out
COLUMNS: Final[Mapping[str, str]] = {  # of the recording -> what an exporter would call it
    "CpuUsageRate(%)": "container_cpu_usage_percent",
    "MemoryUsageRate(%)": "container_memory_usage_percent",
    "NetworkReceiveBytes": "container_network_receive_bytes_per_second",
    "NetworkTransmitBytes": "container_network_transmit_bytes_per_second",
    "PodClientLatencyP90(s)": "http_client_latency_p90_seconds",
    "PodServerLatencyP90(s)": "http_server_latency_p90_seconds",
    "PodWorkload(Ops)": "http_server_requests_per_second",
    "PodSuccessRate(%)": "http_server_success_percent",
}
EDGES: Final = {"source_50": "source", "destination_50": "destination"}
Row = tuple[int, str, bytes]  # Kafka's time, topic, value
Series = dict[str, dict[int, float]]  # by `service|metric`: value by minute


def run(source: Path = FOLDER) -> Json:
    """Ours on its whole way, its ranking alone, and the peers on the metrics."""
    cases: list[Case] = []
    whole: list[Answer] = []
    alone: list[Answer] = []
    tables: list[peers.Table] = []
    for day, name in DAYS.items():
        folder = source / day
        series = _series(folder)
        asked = _cases(folder, day, name, series)
        for answers, found in zip((whole, alone), _ours(folder, name, asked), strict=True):
            answers += found
        tables += [_table(series, case, asked) for case in asked]
        cases += asked
    results: dict[str, Any] = {
        "ours": by_group(cases, whole, scored), "ours, all symptoms": by_group(cases, alone, scored),
    }  # fmt: skip
    topology = Topology()
    answers = [given(each, "", case.group.split()[0], topology) for case, each in zip(cases, tables, strict=True)]
    results["ours, told when, no topology"] = by_group(cases, [each.services for each in answers], hits)
    for method, rows in peers.rankings(tables).items():
        results[method] = by_group(cases, rows, hits)
    shown = [case.id for case in cases if case.group.endswith("shown") and "not" not in case.group]
    pairs = zip(cases, whole, strict=True)
    pods = [not {case.pod, case.service}.isdisjoint(answer.entities[:1]) for case, answer in pairs]
    return {
        "set": "nezha", "shown": shown, "results": results, "pod_or_its_only_workload_first": sum(pods),
        "table": table("Nezha, service at fault", results),
    }  # fmt: skip


def _cases(folder: Path, day: str, name: str, series: Series) -> list[Case]:
    told = orjson.loads((folder / f"faulty/{day}-fault_list.json").read_bytes())
    faults = sorted((fault for hour in told.values() for fault in hour), key=lambda each: each["inject_time"])
    times = [_ms(fault["inject_time"]) for fault in faults]
    cases = []
    for fault, inject_ms in zip(faults, times, strict=True):
        service = workload_of(fault["inject_pod"])
        if name == "boutique":
            shown = any(_stands_out(values, inject_ms, times) for key, values in series.items() if _of(key) == service)
        else:
            shown = (service, fault["inject_type"]) in SHOWN and fault["inject_time"] not in UNSEEN
        cases.append(
            Case(
                id=f"{fault['inject_time']} {service}", group=f"{name} {'' if shown else 'not '}shown",
                kind=fault["inject_type"], inject_ms=inject_ms, service=service, pod=fault["inject_pod"],
            )
        )  # fmt: skip
    return cases


def _of(column: str) -> str:
    return column.split("|", 1)[0]


def _clean(minutes: Sequence[int], inject_ms: int, times: Sequence[int]) -> list[int]:
    """Minutes of the hour before, without those of other faults."""
    return [
        at for at in minutes
        if inject_ms - BEFORE_MS <= at < inject_ms and not any(0 <= at - other < FAULT_MS for other in times)
    ]  # fmt: skip


def _stands_out(values: Mapping[int, float], inject_ms: int, times: Sequence[int]) -> bool:
    before = [values[at] for at in _clean(list(values), inject_ms, times)]
    after = [value for at, value in values.items() if inject_ms <= at < inject_ms + FAULT_MS]
    if len(before) < ENOUGH or not after:
        return False
    low, high = min(before), max(before)
    margin = (high - low) / 2
    return max(after) > high + margin or min(after) < low - margin


def _ours(folder: Path, name: str, cases: Sequence[Case]) -> tuple[list[Answer], list[Answer]]:
    """The product's own route: shippers' JSON, pipeline, fold, summaries, step. One configuration, the default one."""
    settings = Settings()
    state, history = State(settings.detection, settings.correlation), History(Pipeline.from_settings(settings))
    ear = heard(state, name)
    whole, alone = [], []
    waiting = list(cases)
    current: Case | None = None
    insights: list[tuple[int, Insight]] = []
    last_ms = cases[-1].inject_ms + 2 * ASKED_MS
    for offset, (time_ms, topic, value) in enumerate(_rows(folder, name)):
        following = waiting[0].inject_ms if waiting else math.inf
        if current and time_ms >= min(current.inject_ms + ASKED_MS, following):
            whole.append(of_insights(insights))
            alone.append(of_symptoms(ear.heard, state, name, current))
            current = None
        if time_ms >= following:
            current = waiting.pop(0)
            ear = heard(state, name, since_ms=current.inject_ms - MINUTE_MS)
            insights = []
        if time_ms > last_ms:
            break
        told = history.take(Message(topic, topic, 0, offset, time_ms, None, value))
        insights += [(history.now_ms, insight) for insight in tell(state, told, history.now_ms)] if told else []
    return whole, alone


def _rows(folder: Path, name: str) -> list[Row]:
    """Everything in order of time, as shippers write it."""
    rows = [*_samples(folder, name), *_edges(folder, name), *_lines(folder, name)]
    rows.sort(key=lambda row: row[0])
    return rows


def _samples(folder: Path, name: str) -> Iterator[Row]:
    for row in _metric_rows(folder):
        at_ms = _ms(row["Time"])
        labels = {"cluster": name, "namespace": name, "pod": row["PodName"]}
        for column, metric in COLUMNS.items():
            if _known(row[column]):
                yield at_ms, "metrics", _sample(metric, labels, row[column], at_ms)


def _edges(folder: Path, name: str) -> Iterator[Row]:
    """Median latency of each call, as Istio tells it: by who calls, and by who is called."""
    for file, reporter in EDGES.items():
        path = folder / f"faulty/metric/{file}.csv.gz"
        for row in _csv(path) if path.exists() else ():
            at_ms = _ms(row["time"])
            for pair, value in row.items():
                caller, _, callee = pair.partition("_")
                if callee and _known(value):
                    labels = {
                        "cluster": name, "namespace": name, "app": callee if reporter == "destination" else caller,
                        "reporter": reporter, "source_workload": caller, "destination_workload": callee,
                    }  # fmt: skip
                    yield at_ms, "metrics", _sample("istio_request_duration_p50_seconds", labels, value, at_ms)


def _sample(metric: str, labels: Mapping[str, str], value: str, at_ms: int) -> bytes:
    return orjson.dumps({"timestamp": at_ms // 1000, "value": value, "name": metric, "labels": labels})


def _lines(folder: Path, name: str) -> Iterator[Row]:
    """Fluent Bit's JSON around the container's own lines. Files overlap: each line once."""
    seen = set()
    for file in sorted(folder.glob("*/log/*.csv.gz")):
        for row in _csv(file):
            line = (row["Timestamp"], row["PodName"], row["Log"])
            if line not in seen:
                seen.add(line)
                at_ms = _ms(row["Timestamp"])
                for text in _said(row["Log"]):
                    kubernetes = {"pod_name": row["PodName"], "namespace_name": name, "host": row["Node"]}
                    value = {"@timestamp": at_ms / 1000, "log": text, "kubernetes": kubernetes | {"cluster_name": name}}
                    yield at_ms, "logs", orjson.dumps(value)


def _said(written: str) -> Iterator[str]:
    """What the container wrote: the runtime's JSON around it is taken off, of several in one row each for itself."""
    at = 0
    while at < len(written):
        try:
            wrapped, end = DECODER.raw_decode(written, at)
        except ValueError:
            yield written[at:].strip()
            return
        yield str(wrapped.get("log", wrapped)).strip()
        at = end + len(written[end:]) - len(written[end:].lstrip())


def _series(folder: Path) -> Series:
    found: Series = {}
    for row in _metric_rows(folder):
        at_ms, service = _ms(row["Time"]) // MINUTE_MS * MINUTE_MS, workload_of(row["PodName"])
        for column, metric in COLUMNS.items():
            if _known(row[column]):
                found.setdefault(f"{service}|{metric}", {})[at_ms] = float(row[column])
    return found


def _table(series: Series, case: Case, cases: Sequence[Case]) -> peers.Table:
    minutes = sorted({at for values in series.values() for at in values})
    before = _clean(minutes, case.inject_ms, [other.inject_ms for other in cases])
    inject_ms = case.inject_ms // MINUTE_MS * MINUTE_MS
    times = [at for at in before if at < inject_ms] + [at for at in minutes if 0 <= at - inject_ms < FAULT_MS]
    columns = {name: peers.filled([values.get(at) for at in times]) for name, values in series.items()}
    return peers.Table(times=times, inject=inject_ms, columns=columns)


def _metric_rows(folder: Path) -> Iterator[dict[str, str]]:
    for file in sorted(folder.glob("faulty/metric/*-*_metric.csv.gz")):
        yield from _csv(file)


def _csv(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def _known(value: str) -> bool:
    return bool(value) and not math.isnan(float(value))


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text[:23].replace("T", " ").rstrip("Z ")).replace(tzinfo=UTC).timestamp() * 1000)


def main(source: Annotated[Path, typer.Option(help="The recordings.")] = FOLDER) -> None:
    """Rank root causes of Nezha's faults, beside peers."""
    result = run(source)
    sys.stdout.write(result.pop("table") + "\n" + json.dumps({"ok": True, **result, "hardware": hardware()}) + "\n")


if __name__ == "__main__":
    typer.run(main)
