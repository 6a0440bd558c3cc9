"""Recorded telemetry as Kafka would hand it over: a set folder of EVALUATION.md, or values with their topics.

A set may hold `incidents.jsonl` beside its tasks, one true incident a line:

    {"id": "1", "start": "2026-11-20T20:01:00Z", "end": "2026-11-20T20:11:00Z",
     "entity": {"kind": "workload", "name": "orders", "namespace": "shop"}}

`kind` is workload or node; a pod counts as its workload. Without `entity` any cause is right. Nothing else is read of
the tasks.
"""

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from processors.decode import decode
from schemas.records import Filtered, Message, Rejected, Signal
from schemas.settings import Kafka, Settings
from schemas.topics import DEFAULT_INPUTS, Input
from streams.recording import Dated, Item, opened, read
from tests.evaluation.insights.truth import Fault, Truth
from tests.evaluation.run import signal_of
from tests.evaluation.sets import Recording, said

INPUTS: Final = {each.topic: each for each in DEFAULT_INPUTS}
Values = Iterable[tuple[Input, Item]]


class _Entity(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    kind: str
    name: str
    namespace: str = ""


class _Incident(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    id: str
    start: AwareDatetime
    end: AwareDatetime
    entity: _Entity = _Entity(kind="any", name="")


def of_folder(folder: Path) -> tuple[tuple[Input, ...], list[Message], list[Truth]]:
    """Inputs, messages in order of time, true incidents. Raises OSError, and ValueError with one line."""
    described = orjson.loads((folder / "set.json").read_bytes())
    try:
        recordings = [Recording.model_validate(each) for each in described.get("inputs", ())]
        lines = (folder / "incidents.jsonl").read_bytes().splitlines() if (folder / "incidents.jsonl").exists() else []
        incidents = [_Incident.model_validate_json(line) for line in lines if line.strip()]
    except ValidationError as error:
        raise ValueError(f"{folder}: {said(error)}") from None
    if not recordings:
        raise ValueError(f"{folder}/set.json names no inputs: there is nothing to tell incidents from")
    inputs = tuple(Input(topic=r.topic, signal=Signal(signal_of(r.topic)), format=r.format) for r in recordings)
    values = [
        (source, item)
        for source, recording in zip(inputs, recordings, strict=True)
        for item in _items(folder / recording.file)
    ]
    return tuple({i.topic: i for i in inputs}.values()), ordered(values), [_truth(each) for each in incidents]


def _items(file: Path) -> list[Item]:
    with file.open("rb") as raw:
        return list(read(opened(raw)))


def ordered(values: Values) -> list[Message]:
    """In order of the time that each value tells; one that tells none comes with the one before it."""
    by_topic: dict[str, tuple[Input, list[Item]]] = {}
    for source, item in values:
        by_topic.setdefault(source.topic, (source, []))[1].append(item)
    dated = [
        (item.time_ms or 0, source.topic, item)
        for source, items in by_topic.values()
        for item in Dated(items, source, now_ms=0)
    ]
    dated.sort(key=lambda each: each[:2])
    first_ms = next((time_ms for time_ms, _, _ in dated if time_ms), 0)
    offsets: dict[str, Iterator[int]] = {}
    messages = []
    for time_ms, topic, item in dated:
        offset = next(offsets.setdefault(topic, count()))
        message = Message(topic, f"id-{topic}", 0, offset, time_ms or first_ms, item.key, item.value, item.headers)
        messages.append(message)
    return messages


def value(row: Any) -> Item:
    return Item(value=orjson.dumps(row))


def settings_of(inputs: Iterable[Input], cluster: str) -> Settings:
    """As an operator would set them: what a shipper leaves out about its cluster, the input says."""
    rows = [
        {"topic": each.topic, "signal": each.signal, "format": each.format, "cluster": cluster} for each in inputs
    ]  # fmt: skip
    plain = Settings()
    kafka = Kafka.model_validate(plain.kafka.model_dump() | {"inputs": rows})
    return plain.model_copy(update={"kafka": kafka})


def cluster_of(inputs: Iterable[Input], messages: Iterable[Message]) -> str:
    """The one cluster that is named in them; empty when there are none or several."""
    by_topic = {each.topic: each for each in inputs}
    named = {
        record.resource.cluster
        for message in messages
        for record in decode(message, by_topic[message.topic])
        if not isinstance(record, Rejected | Filtered)
    } - {""}
    return named.pop() if len(named) == 1 else ""


def _truth(incident: _Incident) -> Truth:
    start_ms, end_ms = (int(moment.timestamp() * 1000) for moment in (incident.start, incident.end))
    entity = incident.entity
    fault = Fault(entity.kind, entity.name, entity.namespace)
    return Truth(
        id=incident.id, kind="set", first_ms=start_ms, bad_ms=start_ms, grown_ms=end_ms, over_ms=end_ms, fault=fault
    )
