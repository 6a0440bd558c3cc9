"""An insight as a Kafka record, and back: Avro or JSON, with the binary headers of CloudEvents 1.0.

    key          incident id
    value        schemas/avro/incident_insight.avsc in the registry's frame; without a registry its JSON twin
    content-type avro/binary | application/json
    ce_id        <incident id>/<revision>: the same for each copy of a revision
    ce_type      dev.freshet.incident.insight.v1.<state>: routing needs no look into the value
    ce_source    /freshet/<installation>/clusters/<cluster>; a replay's: /freshet/<installation>/replays/<topic>/...
    ce_time      event time of what made this revision
    ce_subject   the main entity, <kind>/<namespace>/<name>
    ce_dataschema of JSON: the id of its schema

The same revision becomes the same bytes, whoever encodes it. A new field has a default and keeps the version; what
changes the meaning of an old one is another version, in the type and in the topic's name.
"""

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from pydantic import ValidationError

from processors.registry import MAGIC, SCHEMA_ID_HEADER, AvroReader, SchemaSource, bounded
from schemas.errors import InvalidRecord, StartupError
from schemas.insights import AffectedEntity, Cause, Insight
from schemas.records import Message
from schemas.settings import Settings

SCHEMA_FILE: Final = Path(__file__).parents[2] / "schemas" / "avro" / "incident_insight.avsc"
TYPE: Final = "dev.freshet.incident.insight.v1"
DATASCHEMA: Final = "urn:freshet:incident-insight:v1"  # id of the JSON Schema; a frame names its own schema
AVRO, JSON = "avro/binary", "application/json"
MAX_VALUE_BYTES: Final = 1_000_000  # what the topic takes, less headers
MAX_ID_BYTES: Final = 200
_REVISION: Final = re.compile(rb"[1-9][0-9]{0,8}")

Headers = list[tuple[str, bytes]]
Serialize = Callable[[dict[str, Any]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The topic that people are paged from."""

    topic: str
    source: str

    @classmethod
    def of(cls, settings: Settings) -> "Live":
        return cls(topic=settings.insights.topic, source=f"/freshet/{quote(settings.kafka.group, safe='')}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A topic in the namespace of replays, `<live topic>.replay.<name>`: nobody is paged from it."""

    topic: str
    source: str

    @classmethod
    def of(cls, settings: Settings, topic: str) -> "Replay":
        """Raises StartupError for a topic outside of the namespace, the live one above all."""
        namespace = f"{settings.insights.topic}.replay."
        if not topic.startswith(namespace) or topic == namespace:
            raise StartupError(f"a replay cannot write to {topic}: give a topic whose name begins with {namespace}")
        installation = quote(settings.kafka.group, safe="")
        return cls(topic=topic, source=f"/freshet/{installation}/replays/{quote(topic, safe='')}")


Channel = Live | Replay


class Record(NamedTuple):
    key: bytes
    value: bytes
    headers: Headers


class RecordEncoder:
    """Encodes insights for one channel. `serialize`: an AvroWriter; None where no registry is set."""

    def __init__(self, channel: Channel, serialize: Serialize | None) -> None:
        self._channel, self._serialize = channel, serialize

    def __call__(self, insight: Insight) -> Record:
        insight, value = self._fitting(insight)
        headers = [
            ("content-type", JSON if self._serialize is None else AVRO),
            ("ce_specversion", "1.0"),
            ("ce_id", record_id(insight)),
            ("ce_type", type_of(insight)),
            ("ce_source", f"{self._channel.source}/clusters/{quote(insight.cluster, safe='')}"),
            ("ce_time", rfc3339(insight.updated)),
            ("ce_subject", subject(insight)),
            *([("ce_dataschema", DATASCHEMA)] if self._serialize is None else []),
        ]
        return Record(insight.id.encode(), value, [(name, text.encode()) for name, text in headers])

    def _fitting(self, insight: Insight) -> tuple[Insight, bytes]:
        """Its value; without the least of what it lists where that is more than the topic takes."""
        while len(value := self._value(insight)) > MAX_VALUE_BYTES:
            lists = ("entities", "causes", "symptoms", "runbooks", "namespaces")
            longest = max(lists, key=lambda name: len(getattr(insight, name)))
            kept = getattr(insight, longest)
            if len(kept) < 2:
                raise InvalidRecord(f"insight is larger than {MAX_VALUE_BYTES} bytes")
            insight = insight.model_copy(update={longest: kept[: len(kept) // 2]})
        return insight, value

    def _value(self, insight: Insight) -> bytes:
        if self._serialize is None:
            return insight.model_dump_json().encode()
        return self._serialize(insight.model_dump())


class RecordDecoder:
    """Decodes records of insight topics; remembers schemas by id."""

    def __init__(self, registry: SchemaSource | None, address: str = "") -> None:
        schema = SCHEMA_FILE.read_text()
        self._avro = AvroReader(registry, schema, bounded, what="an insight", address=address) if registry else None

    def __call__(self, message: Message) -> Insight:
        """Raises InvalidRecord on anything odd; SinkUnavailable and SinkMisconfigured when a schema is asked for."""
        value = message.value or b""
        if not 0 < len(value) <= MAX_VALUE_BYTES:
            raise InvalidRecord(f"insight is empty or larger than {MAX_VALUE_BYTES} bytes")
        if any(name == SCHEMA_ID_HEADER for name, _ in message.headers):
            raise InvalidRecord("schema ids in headers are not supported: put the id in front of the value")
        try:
            if not value.startswith(MAGIC):
                insight = Insight.model_validate_json(value, extra="ignore")  # as an Avro reader does with what is new
            elif self._avro is None:
                raise InvalidRecord("value is Avro, but FRESHET_REGISTRY__URL is not set")
            else:
                insight = Insight.model_validate(self._avro(value))
        except ValidationError as error:
            raise InvalidRecord("value is no insight of this version") from error
        if revision_of(message) != (insight.id, insight.revision):
            raise InvalidRecord("insight has another id or revision than its headers say")
        if dict(message.headers).get("ce_type") != type_of(insight).encode():
            raise InvalidRecord("insight has another type or state than its headers say")
        return insight


def record_id(insight: Insight) -> str:
    """`ce_id`."""
    return f"{insight.id}/{insight.revision}"


def type_of(insight: Insight) -> str:
    """`ce_type`."""
    return f"{TYPE}.{insight.state}"


def revision_of(message: Message) -> tuple[str, int]:
    """Incident id and revision from the headers alone. Raises InvalidRecord."""
    key, revision = (dict(message.headers).get("ce_id") or b"").rpartition(b"/")[::2]
    if not key or key != message.key or len(key) > MAX_ID_BYTES or not _REVISION.fullmatch(revision):
        raise InvalidRecord("ce_id is not <key>/<revision>")
    try:
        return key.decode(), int(revision)
    except UnicodeDecodeError as error:
        raise InvalidRecord("key is not text") from error


def ended(message: Message) -> bool:
    """Whether the headers say that the incident is over, or goes on in another one."""
    kind = dict(message.headers).get("ce_type") or b""
    return kind.rpartition(b".")[2] in (b"resolved", b"merged")


def source_of(message: Message) -> str:
    """`ce_source`; empty when there is none that can be read."""
    return (dict(message.headers).get("ce_source") or b"").decode(errors="replace")


def subject(insight: Insight) -> str:
    """The most probable cause, else the entity with the first symptoms, else the cluster."""
    likely: tuple[Cause | AffectedEntity, ...] = (*insight.causes[:1], *insight.entities[:1])
    for found in likely:
        return "/".join(quote(part, safe="") for part in (found.kind, found.namespace, found.name) if part)
    return f"cluster/{quote(insight.cluster, safe='')}"


def rfc3339(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
