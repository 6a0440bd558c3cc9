"""A labelled set from Train-Ticket, a booking system of some fifty services, with 28 injected faults on 2023-01-29.

    python -m tests.evaluation.train_ticket OUT [--source ../shared/data]

Logs exist for the minutes around each fault only, metrics for the whole day, once a minute. `inject_time` is used, as
UTC: most values of `inject_timestamp` are eight hours off. Which faults the data can show was decided from the data,
before anything was asked: the injected pod says something in the three minutes after the injection that it says at most
a third as often at other times (counted per minute, five times at least), or its CPU leaves 1-4 % for 90-100 %. For the
other eleven neither logs nor metrics of the injected pod differ from the minutes before; for those the right answer is
that nothing stands out.
"""

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from tests.evaluation.folders import SHARED, write_described, write_lines

FOLDER: Final = "rca/nezha/2023-01-29"
NAMESPACE: Final = "train-ticket"
AFTER: Final = timedelta(minutes=3)  # the question comes; the recorded logs end about then
DECODER: Final = json.JSONDecoder()
AROUND: Final = timedelta(minutes=35)  # of each fault, whose metrics are loaded
# Column of the recording -> name and scale: what an exporter would call it.
METRICS: Final[Mapping[str, str]] = {
    "CpuUsageRate(%)": "container_cpu_usage_percent",
    "MemoryUsageRate(%)": "container_memory_usage_percent",
    "PodClientLatencyP90(s)": "http_client_latency_p90_seconds",
    "PodServerLatencyP90(s)": "http_server_latency_p90_seconds",
    "PodWorkload(Ops)": "http_server_requests_per_second",
}
CPU: Final = {"kind": "evidence", "signal": "metric", "regex": r"container_cpu_usage_percent.* to (?:8\d|9\d|100)"}


def _says(regex: str) -> dict[str, str]:
    return {"kind": "evidence", "signal": "log", "regex": regex}


# What shows a fault, by injected service and kind: for these every fault of the list but those in UNSEEN is visible.
SHOWN: Final[Mapping[tuple[str, str], Mapping[str, str]]] = {
    ("ts-contacts-service", "return"): _says(r"No contacts according to"),
    ("ts-basic-service", "return"): _says(r"Get Route By Ids Failed"),
    ("ts-basic-service", "exception"): _says(r"catch price exception"),
    ("ts-food-service", "return"): _says(r"reGetTrainFoodListResult\]\[Get the Get Food Request Failed"),
    ("ts-verification-code-service", "return"): _says(r"Code not found"),
    ("ts-travel-service", "exception"): _says(r"Servlet\.service\(\) for servlet"),
    ("ts-contacts-service", "cpu_contention"): CPU,
    ("ts-verification-code-service", "cpu_contention"): CPU,
    ("ts-food-service", "cpu_contention"): CPU,
    ("ts-preserve-service", "cpu_contention"): CPU,
}
# The same error is said as often as at any other time.
UNSEEN: Final = frozenset({"2023-01-29 10:04:34", "2023-01-29 10:12:48"})


def write_set(source: Path, out: Path) -> Path:
    """The set folder. Raises OSError."""
    recorded = source / FOLDER
    faults = faults_of(recorded)
    moments = [_moment(fault) for fault in faults]
    write_lines(out / "logs.jsonl.gz", _lines(recorded))
    write_lines(out / "metrics.jsonl.gz", _samples(recorded / "faulty/metric", moments))
    inputs = [("logs", "logs"), ("metrics", "metrics")]
    tasks = [task for fault in faults for task in tasks_of(fault)]
    return write_described(
        out, name="train-ticket", now="2023-01-29T16:00:00Z", inputs=inputs, tasks=tasks, runbooks=""
    )


def faults_of(recorded: Path) -> list[dict[str, str]]:
    """The injected faults, in order of time."""
    by_hour = orjson.loads((recorded / "faulty/2023-01-29-fault_list.json").read_bytes())
    return [fault for faults in by_hour.values() for fault in faults]


def _moment(fault: Mapping[str, str]) -> datetime:
    return datetime.fromisoformat(fault["inject_time"]).replace(tzinfo=UTC)


def tasks_of(fault: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """What is asked about one fault, three minutes later."""
    at = _moment(fault)
    service, kind = fault["inject_pod"].rsplit("-", 2)[0], fault["inject_type"]
    shown = SHOWN.get((service, kind)) if fault["inject_time"] not in UNSEEN else None
    now, identity = f"{at + AFTER:%Y-%m-%dT%H:%M:%SZ}", f"{at:%H%M}-{service.removeprefix('ts-')}-{kind}"
    if shown is None:
        question = f"Is anything wrong with {service} in the last 4 minutes?"
        yield {"id": identity, "group": "not visible", "now": now, "question": question, "expect": [], "abstain": True}
        return
    expect = [{"kind": "object", "name": service}, shown]  # which object, and by what kind of evidence: scored apart
    group = "cpu" if shown is CPU else "errors"
    vague = f"Users of {NAMESPACE} report problems since a few minutes ago. Which service is at fault?"
    yield {
        "id": f"{identity}-which",
        "group": f"{group}, which service",
        "now": now,
        "question": vague,
        "expect": expect,
    }
    named = f"What is wrong with {service} in the last 4 minutes?"
    yield {
        "id": f"{identity}-what",
        "group": f"{group}, what is wrong",
        "now": now,
        "question": named,
        "expect": expect,
    }


def _lines(recorded: Path) -> Iterator[dict[str, Any]]:
    """Fluent Bit's JSON around the container's own lines, in order of time."""
    found = []
    for file in sorted(recorded.glob("*/log/*.csv.gz")):
        with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
            found += [(row["Timestamp"], row["PodName"], row["Node"], row["Log"]) for row in csv.DictReader(lines)]
    for time, pod, node, written in sorted(found):
        for text in _said(written):
            yield {
                "@timestamp": datetime.fromisoformat(time[:26].rstrip("Z")).replace(tzinfo=UTC).timestamp(),
                "time": time,
                "stream": "stdout",
                "_p": "F",
                "log": text,
                "kubernetes": {
                    "pod_name": pod,
                    "namespace_name": NAMESPACE,
                    "host": node,
                    "container_name": pod.rsplit("-", 2)[0],
                },
            }


def _said(written: str) -> Iterator[str]:
    """What the container wrote: the runtime's JSON around it is taken off, of several in one row each for itself."""
    at = 0
    while at < len(written):
        try:
            wrapped, at = DECODER.raw_decode(written, at)
        except ValueError:
            yield written[at:].strip()
            return
        yield wrapped["log"].strip()
        at += len(written) - at - len(written[at:].lstrip())


def _samples(folder: Path, moments: list[datetime]) -> Iterator[dict[str, Any]]:
    """prometheus-kafka-adapter's JSON, near to the faults only."""
    for file in sorted(folder.glob("ts-*_metric.csv.gz")):
        with gzip.open(file, "rb") as lines:
            for row in csv.DictReader(io.TextIOWrapper(lines, encoding="utf-8", newline="")):
                at = datetime.fromisoformat(row["Time"][:19]).replace(tzinfo=UTC)
                if not any(abs(at - moment) < AROUND for moment in moments):
                    continue
                for column, name in METRICS.items():
                    if row[column] not in ("", "NaN", "nan"):
                        labels = {"__name__": name, "namespace": NAMESPACE, "pod": row["PodName"]}
                        yield {
                            "timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}",
                            "value": row[column],
                            "name": name,
                            "labels": labels,
                        }


def main(
    out: Annotated[Path, typer.Argument(help="Folder of the set; it is made.")],
    source: Annotated[Path, typer.Option(help="The recordings.")] = SHARED,
) -> None:
    """Write a labelled evaluation set from the recorded faults of Train-Ticket."""
    sys.stdout.write(f"{write_set(source, out)}\n")


if __name__ == "__main__":
    typer.run(main)
