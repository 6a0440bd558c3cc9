"""The shop: deterministic, every incident in every signal, bytes as shippers write them, ground truth that holds."""

import gzip
import json
import re
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from deploy.shop.delivery import RUNBOOKS, paced, write_set
from deploy.shop.incidents import KINDS, Incident, cast_victims
from deploy.shop.player import TOPICS, Scenario, all_incidents, happenings, play, single_incident
from deploy.shop.script import Bends, Moves
from deploy.shop.telemetry import Happening, Log, Message, Notice, Observation, Point, Sample
from deploy.shop.topology import build_estate
from processors.decode import decode
from processors.template import template
from schemas import records
from schemas.topics import DEFAULT_INPUTS

END = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
SEEDS = (1, 2, 3)
TOPIC_OF_SIGNAL = {"log": "logs", "event": "k8s-events"}
CROWDED = all_incidents(SEEDS, end=END, minutes=12, rate=6)


@cache
def seen(quiet: bool = False) -> tuple[Happening, ...]:
    scenario = replace(CROWDED, incidents=()) if quiet else CROWDED
    return tuple(takewhile(lambda one: one.at_s < END.timestamp(), happenings(scenario)))


@cache
def played() -> tuple[Message, ...]:
    return tuple(play(single_incident("bad-deploy", seed=3, end=END, minutes=8, rate=8)))


def values(topic: str) -> list[bytes]:
    return [message.value for message in played() if message.topic == topic]


def objects(topic: str) -> list[dict[str, Any]]:
    return [json.loads(value) for value in values(topic) if value.startswith(b"{")]


def said(namespace: str = "", *, quiet: bool = False) -> list[tuple[str, str]]:
    """(signal, text) of everything that has a text, in one namespace and what all namespaces share."""
    shops = [shop for shop in CROWDED.estate.shops if shop != namespace] if namespace else []
    texts = []
    for one in seen(quiet):
        match one:
            case Log() if one.pod.namespace not in shops:
                texts.append(("log", one.text))
            case Observation() if one.subject.namespace not in shops:
                texts.append(("event", f"{one.reason}: {one.message}"))
    return texts


def test_same_scenario_same_bytes() -> None:
    def once(seed: int) -> list[Message]:
        return list(play(single_incident("oom-kill", seed=seed, end=END, minutes=1, rate=5)))

    assert once(1) == once(1)
    assert once(1) != once(2)


def test_estate_is_large_enough() -> None:
    estate = build_estate(seed=1)
    own = [pod for pod in estate.pods if pod.namespace == "shop"]
    assert len({pod.service.name for pod in own}) >= 8
    assert len(own) >= 40
    assert len({pod.node for pod in own}) >= 6
    assert len({pod.name for pod in estate.pods}) == len(estate.pods)
    assert len({pod.namespace for pod in estate.pods}) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_three_seeds_hit_three_workloads_in_three_ways(kind: str) -> None:
    incidents = [single_incident(kind, seed=seed, end=END).incidents[0] for seed in SEEDS]
    assert len({incident.workload for incident in incidents}) == 3
    assert len({incident.question for incident in incidents}) == 3


@pytest.mark.parametrize("seed", range(12))
def test_victims_never_collide(seed: int) -> None:
    victims = cast_victims(build_estate(seed=seed), "shop", tuple(KINDS), seed)
    assert len(set(victims.values())) == len(KINDS)


@pytest.mark.parametrize("incident", CROWDED.incidents, ids=lambda incident: incident.id)
def test_incident_shows_in_every_signal(incident: Incident) -> None:
    quiet = {(type(one), text_of(one)) for one in seen(quiet=True)}
    involved = {incident.workload, *incident.callers}
    shows = defaultdict(set)
    for one in seen():
        if one.at_s < incident.start.timestamp() or (type(one), text_of(one)) in quiet:
            continue
        match one:
            case Log() if one.pod.namespace == incident.namespace:
                shows["log"].add(one.pod.service.name)
            case Observation() if one.subject.namespace == incident.namespace:
                shows["event"].add(one.subject.labels.get("app.kubernetes.io/name", one.subject.name))
            case Notice() if one.labels.get("namespace", incident.namespace) == incident.namespace:
                shows["alert"].add(one.labels.get("deployment", one.labels.get("node", "")))
    assert involved <= shows["log"]
    assert any(name.startswith((incident.workload, *incident.callers)) for name in shows["event"])
    assert shows["alert"] & {incident.workload, incident.node}


def text_of(one: Happening) -> str:
    match one:
        case Log():
            return template(one.text)
        case Observation():
            return f"{one.reason} {one.subject.name}"
        case Notice():
            return one.labels["alertname"]
    return ""


@cache
def measured() -> dict[str, list[float]]:
    numbers: dict[str, list[float]] = defaultdict(list)
    for one in seen():
        if isinstance(one, Sample):
            numbers[f"{one.name} {sorted(one.labels.items())}"].append(one.value)
        elif isinstance(one, Point):
            numbers[f"{one.name} {one.pod.name} {sorted(one.attributes.items())}"].append(one.value)
    return numbers


@pytest.mark.parametrize("incident", CROWDED.incidents, ids=lambda incident: incident.id)
def test_metrics_bend(incident: Incident) -> None:
    ended = {row.pod.name for one in CROWDED.incidents for row in one.rows if isinstance(row, Moves)}
    bends = [row for row in incident.rows if isinstance(row, Bends) and row.to != row.series.usual]
    checked = 0
    for one in (row.series for row in bends):
        if ended & {one.pod.name if one.pod else "", one.labels.get("pod", "")}:
            continue
        pod = f"{one.pod.name} " if one.pod and one.unit else ""
        numbers = measured()[f"{one.name} {pod}{sorted(one.labels.items())}"]
        if one.kind == "gauge":
            assert abs(numbers[-1] - numbers[0]) > 0.3 * max(numbers)
        else:
            assert numbers[-1] - numbers[-5] > 2 * (numbers[4] - numbers[0])
        checked += 1
    assert checked


@pytest.mark.parametrize("incident", CROWDED.incidents, ids=lambda incident: incident.id)
def test_cause_is_planted_and_found_by_its_wording_alone(incident: Incident) -> None:
    for expectation in incident.cause:
        if expectation.kind != "evidence":
            continue
        wanted = re.compile(expectation.regex)
        here = [text for signal, text in said(incident.namespace) if expectation.signal in ("", signal)]
        hits = [text for text in here if wanted.search(text)]
        assert len(hits) >= 5
        assert any(wanted.search(template(text)) for text in hits)
        assert not [text for _, text in said(quiet=True) if wanted.search(text)]
        assert not wanted.search(incident.question)


def test_symptoms_are_louder_than_the_cause() -> None:
    scenario = single_incident("slow-upstream", seed=3, end=END, minutes=10, rate=20)
    (incident,) = scenario.incidents
    logs = [
        one for one in takewhile(lambda one: one.at_s < END.timestamp(), happenings(scenario)) if isinstance(one, Log)
    ]
    cause = sum(bool(re.search(incident.cause[0].regex, log.text)) for log in logs)
    symptoms = sum(incident.workload in log.text and log.pod.service.name in incident.callers for log in logs)
    assert 0 < 3 * cause < symptoms


def test_messages_are_in_order_and_stamped_with_their_event_time() -> None:
    stamps = [message.timestamp_ms for message in played()]
    assert all(earlier <= later for earlier, later in pairwise(stamps))
    assert {message.topic for message in played()} == set(TOPICS)
    for message in played():
        if message.topic == "logs" and message.value.startswith(b'{"@timestamp"'):
            at_ms = json.loads(message.value)["@timestamp"] * 1000
            assert 0 < message.timestamp_ms - at_ms < 10


def test_fluent_bit_bytes() -> None:
    lines = [line for line in objects("logs") if "@timestamp" in line]
    assert len(lines) > 1000
    for line in lines:
        assert isinstance(line["@timestamp"], float)
        assert line["stream"] in ("stdout", "stderr")
        assert line["log"]
        wanted = {"pod_name", "namespace_name", "pod_id", "labels", "host", "pod_ip", "container_name", "docker_id"}
        assert wanted <= line["kubernetes"].keys()


def test_otlp_log_bytes() -> None:
    batches = [batch for batch in objects("logs") if "resourceLogs" in batch]
    binary = [LogsData.FromString(value) for value in values("logs") if not value.startswith(b"{")]
    assert batches
    assert binary
    records = [
        record
        for batch in batches
        for resource in batch["resourceLogs"]
        for record in resource["scopeLogs"][0]["logRecords"]
    ]
    assert len(records) > len(batches)
    assert all(record["timeUnixNano"].isdecimal() and record["body"]["stringValue"] for record in records)
    assert {len(record["traceId"]) for record in records if "traceId" in record} == {32}
    for batch in binary:
        for resource in batch.resource_logs:
            keys = {attribute.key for attribute in resource.resource.attributes}
            assert {"service.name", "k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name"} <= keys
            for record in resource.scope_logs[0].log_records:
                assert record.time_unix_nano
                assert record.severity_number in (5, 9, 13, 17, 21)
                assert len(record.trace_id) in (0, 16)


def test_metric_bytes() -> None:
    for sample in (one for one in objects("metrics") if "labels" in one):
        assert sample["name"] == sample["labels"]["__name__"]
        assert all(isinstance(part, str) for part in (sample["value"], *sample["labels"].values()))
        datetime.strptime(sample["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        float(sample["value"])
    binary = [MetricsData.FromString(value) for value in values("metrics") if not value.startswith(b"{")]
    written = [one for one in objects("metrics") if "resourceMetrics" in one]
    kinds = {
        metric.WhichOneof("data")
        for batch in binary
        for r in batch.resource_metrics
        for metric in r.scope_metrics[0].metrics
    }
    assert kinds == {"gauge", "sum", "histogram"}
    for batch in written:
        for resource in batch["resourceMetrics"]:
            for metric in resource["scopeMetrics"][0]["metrics"]:
                for point in metric.get("histogram", {}).get("dataPoints", ()):
                    assert sum(map(int, point["bucketCounts"])) == int(point["count"])
                    assert len(point["bucketCounts"]) == len(point["explicitBounds"]) + 1


def test_event_bytes_in_three_shapes_with_rising_counts() -> None:
    counts = defaultdict(list)
    shapes = set()
    for message in played():
        if message.topic != "k8s-events":
            continue
        event = json.loads(message.value)
        uid = event["metadata"]["uid"]
        if "regarding" in event:
            shapes.add("events")
            assert {"note", "eventTime", "reportingController", "deprecatedSource"} <= event.keys()
            counts[uid].append((event["series"] or {"count": 1})["count"])
            continue
        exported = "clusterName" in event
        shapes.add("exporter" if exported else "core")
        assert message.key == (uid.encode() if exported else None)
        assert {"involvedObject", "message", "firstTimestamp", "lastTimestamp", "reason", "type"} <= event.keys()
        counts[uid].append(event["count"])
    assert shapes == {"events", "exporter", "core"}
    repeated = [seen_counts for seen_counts in counts.values() if len(seen_counts) > 1]
    assert repeated
    assert all(earlier < later for one in repeated for earlier, later in pairwise(one))


def test_alert_bytes() -> None:
    notifications = objects("alerts")
    assert {one["status"] for one in notifications} == {"firing", "resolved"}
    for one in notifications:
        assert one["version"] == "4"
        for alert in one["alerts"]:
            assert (alert["endsAt"] == "0001-01-01T00:00:00Z") == (alert["status"] == "firing")
            assert alert["annotations"]["summary"]
            assert alert["labels"]["alertname"]


def test_our_decoders_take_every_message() -> None:
    inputs = {source.topic: source for source in DEFAULT_INPUTS}
    for offset, message in enumerate(played()):
        stamp = message.timestamp_ms
        consumed = records.Message(
            topic=message.topic,
            topic_id="t",
            partition=0,
            offset=offset,
            timestamp_ms=stamp,
            key=message.key,
            value=message.value,
        )
        for record in decode(consumed, inputs[message.topic]):
            assert not isinstance(record, records.Rejected | records.Filtered)
            assert record.time_ms
            assert record.time_ms <= stamp
            if isinstance(record, records.LogRecord):
                assert record.resource.namespace
                assert record.resource.pod.startswith(record.resource.workload)


def test_every_alert_links_a_runbook_that_names_it() -> None:
    alerts = {
        (one.labels["alertname"], one.annotations.get("runbook_url", "")) for one in seen() if isinstance(one, Notice)
    }
    assert len(alerts) > len(KINDS)
    for name, url in alerts - {("Watchdog", "")}:
        page = (RUNBOOKS / url.removeprefix("https://runbooks.shop.example/")).read_text()
        front = yaml.safe_load(page.split("---")[1])
        assert front["title"]
        assert name in front["alerts"]


def test_runbooks_have_the_section_that_is_expected() -> None:
    assert len(list(RUNBOOKS.glob("*.md"))) >= 10
    for kind in KINDS.values():
        assert f"\n## {kind.section}\n" in (RUNBOOKS / kind.runbook).read_text()


def test_written_set_has_the_agreed_format(tmp_path: Path) -> None:
    scenario: Scenario = replace(single_incident("dns-failure", seed=1, end=END, minutes=2, rate=5), binary=False)
    written = write_set(play(scenario), scenario.incidents, tmp_path, name="shop-dns")
    described = json.loads((tmp_path / "set.json").read_text())
    files = [tmp_path / part["file"] for part in described["inputs"]]
    lines = [line for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert len(lines) == written
    assert all({"value", "timestamp_ms"} <= json.loads(line).keys() for line in lines)
    task = json.loads((tmp_path / "tasks.jsonl").read_text().splitlines()[0])
    assert {part["kind"] for part in task["expect"]} == {"evidence", "object", "runbook"}
    assert (tmp_path / described["runbooks"] / "dns-failure.md").exists()


def test_paced_waits_until_a_message_is_due() -> None:
    slept: list[float] = []
    messages = played()[:3]
    due = iter((9.0, 12.5, 10.0))
    assert list(paced(messages, lambda _: next(due), clock=lambda: 10.0, sleep=slept.append)) == list(messages)
    assert slept == [2.5]
