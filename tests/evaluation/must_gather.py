"""A labelled set from real recordings: an OpenShift installation on AWS, a database's CPU, 108 runbooks, ten questions.

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

SHARED: Final = Path(__file__).parents[3] / "shared" / "data"
CLUSTER: Final = "k8s/must-gather-aws"
SERIES: Final = "metrics/nab/data/realAWSCloudwatch/rds_cpu_utilization_e47b3b.csv"
METRIC: Final = "aws_rds_cpuutilization_average"  # as cloudwatch_exporter names it
RUNBOOKS: Final = "runbooks/corpus"

# Written from the recordings before any of them was asked. What each rests on:
#   pending     12 pods of openshift-monitoring and others: "... taint {node-role.kubernetes.io/master: }", 09:18-09:25
#   mount       FailedMount x 6, 09:18:45-09:19:01: the secret of its TLS certificate is not there yet
#   restarts    BackOff x 11 until 09:23:40; the previous container ended with "no matches for kind Route", 09:22:59
#   probe       41 failed readiness probes of the console until 09:31:44; it cannot reach the auth provider until 09:31
#   slow        586 x "apply request took too long" in etcd, 09:25:50-09:26:51
#   certificate 95 refused signing requests, 09:23-10:12, still going on at the end
#   progress    256 x "Cluster operator authentication is not available", 09:24:58-09:45:24, the longest of all
#   database    CPU at 14 % for days, 76 % at 06:52 and 66 % at 06:57 on 2014-04-13
#   member      UnhealthyEtcdMember x 4 at 09:27:00 and at 09:28:17
#   quiet       no line, event or alert of openshift-dns after 09:30
TASKS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "id": "pending",
        "group": "events",
        "question": "Several pods in openshift-monitoring have been pending for minutes. What keeps them?",
        "now": "2021-08-03T09:25:05Z",
        "expect": [{"kind": "evidence", "signal": "event", "regex": r"node-role\.kubernetes\.io/master.*tolerate"}],
    },
    {
        "id": "mount",
        "group": "events",
        "question": "machine-api-operator hangs in ContainerCreating, what is it waiting for?",
        "now": "2021-08-03T09:19:10Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r'secret "machine-api-operator-tls" not found'},
            {"kind": "object", "name": "machine-api-operator"},
        ],
    },
    {
        "id": "restarts",
        "group": "events",
        "question": "Why does ingress-operator keep restarting?",
        "now": "2021-08-03T09:24:00Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r"BackOff Pod/ingress-operator"},
            {"kind": "evidence", "signal": "log", "regex": r"no matches for kind .{0,2}Route"},
        ],
    },
    {
        "id": "probe",
        "group": "events",
        "question": "The web console has been unavailable for five minutes, what is wrong with the console pods?",
        "now": "2021-08-03T09:32:00Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r"Pod/console-\w+-\w+: Readiness probe.*refused"},
            {"kind": "evidence", "signal": "log", "regex": r"error contacting auth provider"},
        ],
    },
    {
        "id": "slow",
        "group": "logs",
        "question": "API calls are sluggish. Does etcd have a performance problem?",
        "now": "2021-08-03T09:27:10Z",
        "expect": [
            {"kind": "evidence", "signal": "log", "regex": r"took too long"},
            {"kind": "object", "name": "etcd"},
        ],
    },
    {
        "id": "certificate",
        "group": "logs",
        "question": "pod-identity-webhook is not getting its TLS certificate, who refuses it?",
        "now": "2021-08-03T10:12:30Z",
        "scope": {"namespaces": ["openshift-cloud-credential-operator"]},
        "expect": [{"kind": "evidence", "signal": "log", "regex": r"(?i)certificatesigningrequests\S* is forbidden"}],
        "forbid": [r"Skipping invalid IP", r"error running apply", r"openshift-(?:sdn|etcd)\b"],
    },
    {
        "id": "progress",
        "group": "logs",
        "question": "The cluster installation does not finish. Which component is holding it up?",
        "now": "2021-08-03T09:43:00Z",
        "expect": [
            {"kind": "evidence", "signal": "log", "regex": r"(?i)operator.{1,3}authentication.{1,60}not available"},
        ],
        "forbid": [r"T09:4[4-9]", r"T09:5"],
    },
    {
        "id": "database",
        "group": "metrics",
        "question": "Did our RDS instance run hot this morning?",
        "now": "2014-04-13T07:20:00Z",
        "expect": [{"kind": "evidence", "signal": "metric", "regex": r"aws_rds_cpuutilization.* to 76"}],
    },
    {
        "id": "member",
        "group": "runbooks",
        "question": "etcd-operator says that one of the masters dropped out of the quorum. How do I get it back?",
        "now": "2021-08-03T09:28:30Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r"UnhealthyEtcdMember.*ip-10-0-189-142"},
            {"kind": "runbook", "path": "prometheus-operator/etcd/etcdMembersDown.md"},
        ],
    },
    {
        "id": "quiet",
        "group": "abstain",
        "question": "Is anything wrong in openshift-dns right now?",
        "now": "2021-08-03T10:05:00Z",
        "expect": [],
        "abstain": True,
    },
)


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
    with gzip.open(out / "metrics.jsonl.gz", "wb", compresslevel=1) as metrics:
        metrics.writelines(orjson.dumps(sample) + b"\n" for sample in samples(source / SERIES))
    for path in (source / RUNBOOKS).rglob("*.md"):
        target = out / "runbooks" / path.relative_to(source / RUNBOOKS)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)  # without its permissions: the source may be read-only
    inputs = [("fluent-bit", "logs"), ("vector", "logs"), ("events", "k8s-events"), ("metrics", "metrics")]
    described = {
        "name": "must-gather-aws",
        "now": "2021-08-03T10:12:30Z",
        "inputs": [{"file": f"{name}.jsonl.gz", "topic": topic, "format": "auto"} for name, topic in inputs],
        "runbooks": "runbooks/",
    }
    (out / "set.json").write_bytes(orjson.dumps(described, option=orjson.OPT_INDENT_2))
    (out / "tasks.jsonl").write_bytes(b"".join(orjson.dumps(task) + b"\n" for task in TASKS))
    return out


def rows(path: Path) -> Iterator[Any]:
    """The values of a file of JSON lines."""
    with gzip.open(path, "rb") as lines:
        for line in lines:
            yield orjson.loads(line)


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
