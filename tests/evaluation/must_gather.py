"""A labelled set from real recordings: an OpenShift installation on AWS, a database's CPU, 108 runbooks, 28 questions.

    python -m tests.evaluation.must_gather OUT [--source ../shared/data]

The recordings are a must-gather archive: Kubernetes events as the API server returns them, pod logs without the
shippers that once carried them. Here each pod's lines get the envelope of a real shipper, Fluent Bit for one half of
the pods and Vector for the other; the database's samples that of prometheus-kafka-adapter.
"""

import csv
import gzip
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from tests.evaluation.folders import SHARED, copy_runbooks, rows, write_described, write_lines
from tests.evaluation.must_gather_tasks import TASKS

CLUSTER: Final = "k8s/must-gather-aws"
SERIES: Final = "metrics/nab/data/realAWSCloudwatch/rds_cpu_utilization_e47b3b.csv"
METRIC: Final = "aws_rds_cpuutilization_average"  # as cloudwatch_exporter names it


def write_set(source: Path, out: Path) -> Path:
    """The set folder; everything in it is derived from `source`. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    cluster = source / CLUSTER
    shutil.copyfile(cluster / "events.jsonl.gz", out / "events.jsonl.gz")
    nodes = nodes_of(cluster)
    with (
        gzip.open(out / "fluent-bit.jsonl.gz", "wb", compresslevel=1) as fluent_bit,
        gzip.open(out / "vector.jsonl.gz", "wb", compresslevel=1) as vector,
    ):
        for line in rows(cluster / "pod_logs.jsonl.gz"):
            node = nodes.get(line["pod"], "")
            if zlib.crc32(line["pod"].encode()) % 2:
                vector.write(orjson.dumps(as_vector(line, node)) + b"\n")
            else:
                fluent_bit.write(orjson.dumps(as_fluent_bit(line, node)) + b"\n")
    write_lines(out / "metrics.jsonl.gz", samples(source / SERIES))
    copy_runbooks(source, out)
    inputs = [("fluent-bit", "logs"), ("vector", "logs"), ("events", "k8s-events"), ("metrics", "metrics")]
    return write_described(out, name="must-gather-aws", now="2021-08-03T10:12:30Z", inputs=inputs, tasks=TASKS)


def nodes_of(cluster: Path) -> dict[str, str]:
    """Pod name -> node, as far as the scheduler's events and the names of static pods tell."""
    known = [path.stem for path in (cluster / "nodes").glob("*.json")]
    found: dict[str, str] = {}
    for event in rows(cluster / "events.jsonl.gz"):
        pod = event["involvedObject"].get("name", "")
        if event["reason"] == "Scheduled":
            found[pod] = event["message"].rsplit(" ", 1)[1]
        elif node := next((node for node in known if pod.endswith(f"-{node}")), ""):
            found[pod] = node
    return found


def as_fluent_bit(line: Mapping[str, str], node: str) -> dict[str, Any]:
    """The kafka output's JSON behind the kubernetes filter; the time is a double, exact to the microsecond."""
    return {
        "@timestamp": datetime.fromisoformat(line["ts"][:26]).replace(tzinfo=UTC).timestamp(),
        "time": line["ts"],
        "stream": "stderr",
        "_p": "F",
        "log": line["message"],
        "kubernetes": {
            "pod_name": line["pod"],
            "namespace_name": line["namespace"],
            "host": node,
            "container_name": line["container"],
        },
    }


def as_vector(line: Mapping[str, str], node: str) -> dict[str, Any]:
    """The kafka sink's JSON behind the kubernetes_logs source."""
    place = f"{line['namespace']}_{line['pod']}_0/{line['container']}"
    return {
        "file": f"/var/log/pods/{place}/0.log",
        "kubernetes": {
            "container_name": line["container"],
            "pod_name": line["pod"],
            "pod_namespace": line["namespace"],
            "pod_node_name": node,
        },
        "message": line["message"],
        "source_type": "kubernetes_logs",
        "stream": "stderr",
        "timestamp": line["ts"],
    }


def samples(series: Path) -> Iterator[dict[str, Any]]:
    """prometheus-kafka-adapter's JSON: every value a string."""
    labels = {"__name__": METRIC, "job": "aws_rds", "dbinstance_identifier": "e47b3b"}
    with series.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            time = row["timestamp"].replace(" ", "T") + "Z"
            yield {"timestamp": time, "value": row["value"], "name": METRIC, "labels": labels}


def main(
    out: Annotated[Path, typer.Argument(help="Folder of the set; it is made.")],
    source: Annotated[Path, typer.Option(help="The recordings.")] = SHARED,
) -> None:
    """Write a labelled evaluation set from the recorded OpenShift installation."""
    sys.stdout.write(f"{write_set(source, out)}\n")


if __name__ == "__main__":
    typer.run(main)
