"""A confirmed incident as an evaluation case: what it asks, expects and holds, and that nothing raw is in it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from cag.runbooks import compile_runbook
from processors.decode import decode
from processors.redact_records import RecordRedactor
from schemas.insights import AffectedEntity, Insight
from schemas.records import Alert, KubernetesEvent, LogRecord, Message, MetricSample, Record, Resource
from schemas.settings import Redaction
from schemas.topics import Input
from streams.insights.export import Slice, markdown_of, task_of, truth_of
from streams.insights.recorded import SIGNALS, redacted, value_of
from tests.evaluation.sets import LabelledSet
from tests.unit.insight_cases import START, insight, symptom
from tests.unit.test_library import CRASH, SECRET

POD = Resource("prod", "shop", "cart", "cart-7d9f8c6b5d-abcde", "app", "node-1")
WORKLOAD = Resource("prod", "shop", "cart", "", "", "")
NODE = Resource("prod", "", "", "", "", "node-1")
AT = 1_763_647_320_000


def event(who: Resource, kind: str, named: str, **more: Any) -> KubernetesEvent:
    return KubernetesEvent(
        uid="u-1", time_ms=AT, first_ms=AT - 5_000, resource=who, object_kind=kind, object_name=named,
        reason="BackOff", message="Back-off restarting", warning=True, count=7, component="kubelet",
        **more,
    )  # fmt: skip


RECORDS: tuple[Record, ...] = (
    LogRecord(AT, POD, 17, "call to db failed"),
    LogRecord(AT, NODE, 9, "disk is full", "0af7651916cd43dd8448eb211c80319c"),
    LogRecord(AT, WORKLOAD, 0, "said"),
    MetricSample(time_ms=AT, resource=POD, name="waiting", labels={"pool": "a", "namespace": "x"}, value=3.5, unit="s"),
    MetricSample(time_ms=AT, resource=POD, name="calls", labels={}, value=7, monotonic=True),
    MetricSample(time_ms=AT, resource=NODE, name="load", labels={"device": "sda"}, value=0.5),
    MetricSample(time_ms=AT, resource=WORKLOAD, name="calls_total", labels={"le": "1"}, value=7, monotonic=True),
    event(POD, "Pod", "cart-7d9f8c6b5d-abcde"),
    event(WORKLOAD, "Deployment", "cart"),
    event(NODE, "Node", "node-1"),
    Alert(
        fingerprint="f", time_ms=AT, starts_ms=AT, ends_ms=None, resource=WORKLOAD, name="CartDown", severity=21,
        labels={"alertname": "CartDown", "severity": "critical", "namespace": "shop", "deployment": "cart",
                "cluster": "prod"},
        annotations={"summary": "no cart"},
    ),
    Alert(
        fingerprint="f", time_ms=AT + 9, starts_ms=AT, ends_ms=AT + 9, resource=WORKLOAD, name="CartDown", severity=0,
        labels={"alertname": "CartDown", "namespace": "shop", "deployment": "cart", "cluster": "prod"}, annotations={},
    ),
)  # fmt: skip


def message(value: Any) -> Message:
    return Message("t", "i", 0, 0, AT + 60_000, None, orjson.dumps(value))


@pytest.mark.parametrize("record", RECORDS)
def test_what_is_written_decodes_to_the_same_record(record: Record) -> None:
    (read,) = decode(message(value_of(record, AT)), Input(topic="t", signal=SIGNALS[type(record)]))
    assert (read._replace(form="") if isinstance(read, LogRecord) else read) == record


TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"


@pytest.mark.parametrize("record", RECORDS)
def test_no_secret_is_written(record: Record) -> None:
    who = record.resource._replace(namespace=f"ns-{TOKEN}")
    if isinstance(record, LogRecord):
        record = record._replace(resource=who, body=f"token {TOKEN} refused, password=hunter2!")
    else:
        fields: dict[str, Any] = {name: getattr(record, name) for name in record.__slots__} | {"resource": who}
        if isinstance(record, KubernetesEvent):
            fields |= {"message": f"password=hunter2! {TOKEN}"}
        else:
            fields |= {"labels": {"alertname": "x", "lane": TOKEN, "password": "hunter2!"}}
        record = type(record)(**fields)
    before, after = (orjson.dumps(value_of(r, AT)) for r in (record, redacted(record, RecordRedactor(Redaction()))))
    for secret in (TOKEN.encode(), b"hunter2"):
        assert secret in before
        assert secret not in after


def told() -> Insight:
    return insight(
        entities=(
            AffectedEntity(kind="workload", name="inventory", namespace="shop", symptoms=2),
            AffectedEntity(kind="workload", name="checkout", namespace="shop", symptoms=1),
        ),
        symptoms=(
            symptom(entity="workload/checkout", name="call to inventory failed", evidence="log-1-1-1"),
            symptom(name="Connection is not available <*> timed out", first=START + timedelta(seconds=1)),
        ),
        resolved=START + timedelta(minutes=9),
    )


def test_a_case_asks_about_what_suffers_and_expects_the_cause(tmp_path: Path) -> None:
    task = task_of(told(), START + timedelta(minutes=4), ("pool.md",))
    assert task["question"] == "why does checkout in shop have trouble?"
    assert task["expect"] == [
        {"kind": "object", "name": "inventory"},
        {"kind": "evidence", "regex": r"Connection\ is\ not\ available", "signal": "log"},
        {"kind": "runbook", "path": "pool.md"},
    ]
    (tmp_path / "tasks.jsonl").write_bytes(orjson.dumps(task))
    (tmp_path / "set.json").write_text('{"name": "x", "now": "2026-11-20T14:06:00Z", "lost": []}')
    (read,) = LabelledSet.read(tmp_path).tasks
    assert read.now == START + timedelta(minutes=4)
    bare = insight(causes=(), entities=(), symptoms=())
    assert task_of(bare, START, ())["question"] == "why does this have trouble?"


def test_the_truth_is_the_first_cause() -> None:
    assert truth_of(told(), START + timedelta(minutes=9)) == {
        "id": told().id, "start": "2026-11-20T14:02:00+00:00", "end": "2026-11-20T14:11:00+00:00",
        "entity": {"kind": "workload", "name": "inventory", "namespace": "shop"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("who", "minutes", "held"),
    [
        (POD, 0, True),
        (NODE, 4, True),  # of no namespace
        (POD._replace(namespace="pay"), 0, False),
        (POD._replace(cluster="other"), 0, False),
        (POD, -31, False),
        (POD, 6, False),
    ],
)
def test_the_slice_is_of_its_cluster_namespaces_and_time(who: Resource, minutes: int, held: bool) -> None:
    cut = Slice(start=START - timedelta(minutes=30), end=START + timedelta(minutes=5))
    at = int((START.timestamp() + minutes * 60) * 1000)
    assert cut.holds(LogRecord(at, who, 9, "x"), message({}), insight()) is held


@pytest.mark.parametrize("text", [CRASH, SECRET])
def test_a_runbook_comes_back_as_markdown(text: str) -> None:
    runbook = compile_runbook("a.md", text)
    again = compile_runbook("a.md", markdown_of(runbook))
    assert (again.title, again.alerts) == (runbook.title, runbook.alerts)
    assert [(s.heading, s.text.strip()) for s in again.sections] == [
        (s.heading, s.text.strip()) for s in runbook.sections
    ]
