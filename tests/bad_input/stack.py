"""All cases through a real worker, among good records: the right letter for each, and nobody is held up."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from opensearchpy.exceptions import TransportError

from cag.registry import SCHEMA_FILE
from deploy.installation import Installation
from deploy.local import processes
from deploy.local.services import Endpoints
from processors.index import connect
from processors.registry import address, register, registry_client
from schemas import dead_letters
from schemas.settings import Kafka, OpenSearch, Registry
from streams.topics import Broker
from tests.bad_input import runbooks
from tests.bad_input.case import LOG, Case, World, inputs
from tests.bad_input.families import FAMILIES, cases
from tests.bad_input.good import rfc3339
from tests.bad_input.verdict import FILTERED
from tests.benchmarks.installed import clear
from tests.benchmarks.reads import Reads

RUNBOOKS: Final = "runbooks in Avro"
MARKER_S: Final = 30.0  # a good record is searchable so long after what came before it, whatever that was
PATIENCE_S: Final = 240.0
MARKER_EVERY: Final = 200  # cases
PACE_BYTES: Final = 32_000_000  # sent before somebody looks whether the worker has kept up
# What Kafka itself keeps out: the pipeline never sees it.
REFUSED: Final = (KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD, KafkaError.MSG_SIZE_TOO_LARGE)
QUICK: Final = {
    "FRESHET_EMBEDDER__KIND": "hashing",
    "FRESHET_WORKER__DEAD_LETTER_LIMIT": "1",
    "FRESHET_KAFKA__PARTITIONS": "1",
}

KEY: Final = b"till.md"  # a path, since runbooks need one

Place = tuple[str, int]  # topic and offset; all topics have one partition


@dataclass(slots=True, kw_only=True)
class Sent:
    """What Kafka holds, by place."""

    cases: dict[Place, Case] = field(default_factory=dict)
    families: dict[Place, str] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)  # the last offset of a topic
    refused: int = 0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of it."""

    wrong: dict[str, list[str]]  # by family
    marker_s: dict[str, float]  # how long the marker behind each family took
    messages: int
    letters: int
    copies: int  # letters that were written twice, which a crash may do and nothing else
    refused: int
    seconds: float
    peak_mb: int


@contextmanager
def installation(state: Path, endpoints: Endpoints, name: str = "bad-input") -> Iterator[Installation]:
    """One partition for each topic, one topic for each format; nothing of it stays."""
    made = Installation(name=name, state=state.resolve(), endpoints=endpoints)
    declared = [{"topic": each.topic, "signal": each.signal, "format": each.format} for each in inputs(f"{name}.")]
    made.extra |= QUICK | {"FRESHET_KAFKA__INPUTS": json.dumps(declared)}
    try:
        clear(made)
        made.run("streams", "topics", "create")
        yield made
    finally:
        clear(made)


def through_worker(
    made: Installation,
    world: World,
    *,
    most_bytes: int,
    families: Iterable[str] = tuple(FAMILIES),
    advance: Callable[[str, float], None] = lambda *_: None,
) -> Outcome:
    """Send everything, wait for it, look at every letter and every count. Raises StartupError when the worker ends."""
    began = time.monotonic()
    sent, waited = Sent(), {}
    producer = Producer(
        {"bootstrap.servers": made.endpoints.kafka, "message.max.bytes": 16_700_000, "linger.ms": 5, "acks": "all"}
    )
    made.start_worker()
    (first,) = processes.running(made.state)[f"{made.name}.worker-1"]
    with closing(Watermarks(made)) as marks:
        for family in families:
            waited[family] = send(made, producer, sent, marks, family, world, most_bytes)
            advance(family, waited[family])
        send_runbooks(made, producer, sent, world)
        began_runbooks = time.monotonic()
        made.wait(lambda: not runbook_lag(made), "the runbooks", "worker-1", PATIENCE_S)
        waited[RUNBOOKS] = time.monotonic() - began_runbooks
        pids = processes.running(made.state).get(f"{made.name}.worker-1")
        peak_mb = peak_of(first)
        made.stop(grace_s=20)
        wrong: dict[str, list[str]] = {family: [] for family in (*waited, "totals")}
        if pids != [first]:
            wrong["totals"].append("the worker ended and was started again")
        letters = read_letters(made)
        copies = compare_letters(made, sent, letters, wrong)
        compare_totals(made, sent, marks, wrong)
    return Outcome(
        wrong=wrong,
        marker_s=waited,
        messages=len(sent.cases),
        letters=len(letters),
        copies=copies,
        refused=sent.refused,
        seconds=time.monotonic() - began,
        peak_mb=peak_mb,
    )


def peak_of(pid: int) -> int:
    """Largest resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


# -- sending -----------------------------------------------------------------------------------------------------------


def send(
    made: Installation, producer: Any, sent: Sent, marks: "Watermarks", family: str, world: World, most_bytes: int
) -> float:
    """The cases of a family with markers between and behind them; the longest that one of those took, in seconds."""
    longest_s, size = 0.0, 0
    for number, case in enumerate(cases(family, world)):
        if number % MARKER_EVERY == 0:
            produce(made, producer, sent, family, marker(family, number, world), world)
        # To the client a timestamp of 0 means the present.
        if len(case.value or b"") > most_bytes or case.at_ms == 0:
            continue
        alone = case.at_ms is not None  # Kafka refuses the whole batch of what comes from the future
        if alone:
            producer.flush(60)
        produce(made, producer, sent, family, case, world)
        if alone:
            producer.flush(60)
        size += len(case.value or b"")
        if size > PACE_BYTES:
            longest_s, size = max(longest_s, marked(made, producer, sent, marks, family, world)), 0
    return max(longest_s, marked(made, producer, sent, marks, family, world))


def marked(made: Installation, producer: Any, sent: Sent, marks: "Watermarks", family: str, world: World) -> float:
    producer.flush(60)
    produce(made, producer, sent, family, marker(family, -1, world), world)
    producer.flush(60)
    return marks.wait(sent)


def send_runbooks(made: Installation, producer: Any, sent: Sent, world: World) -> None:
    """Broken and whole runbooks, in the frame of the real registry."""
    registry = Registry.model_validate({"url": made.endpoints.registry})
    client = registry_client(registry)
    assert client is not None
    with closing(client):
        ours = register(client, f"{made.name}.{runbooks.TOPIC}", SCHEMA_FILE.read_text(), address(registry))
    for case in runbooks.of_registry(ours):
        produce(made, producer, sent, RUNBOOKS, case, world)
    producer.flush(60)


def runbook_lag(made: Installation) -> int:
    broker = Broker(Kafka(bootstrap_servers=made.endpoints.kafka))
    return sum(broker.lag(made.name, [(f"{made.name}.{runbooks.TOPIC}", 0)]).values())


def marker(family: str, number: int, world: World) -> Case:
    value = json.dumps({"time": rfc3339(world.at_ms), "message": f"marker of {family}", "level": "info", "n": number})
    return Case(name=f"marker {number}", value=value.encode(), expect=LOG)


def produce(made: Installation, producer: Any, sent: Sent, family: str, case: Case, world: World) -> None:
    topic = f"{made.name}.{case.topic}"

    def delivered(error: Any, message: Message) -> None:
        if error is not None:
            if error.code() not in REFUSED:
                raise AssertionError(f"{case.name}: {error}")
            sent.refused += 1
            return
        place = (topic, int(message.offset() or 0))
        sent.cases[place], sent.families[place] = case, family
        if case.topic == runbooks.TOPIC:
            return  # they are counted nowhere
        sent.ends[topic] = max(sent.ends.get(topic, -1), place[1])

    options = {"key": KEY, "headers": list(case.headers), "on_delivery": delivered}
    at_ms = world.at_ms if case.at_ms is None else case.at_ms
    while True:
        try:
            producer.produce(topic, case.value, partition=0, timestamp=at_ms, **options)
        except BufferError:
            producer.poll(0.1)
            continue
        except KafkaException as error:  # larger than the client would send
            if error.args[0].code() not in REFUSED:
                raise
            sent.refused += 1
        producer.poll(0)
        return


# -- looking -----------------------------------------------------------------------------------------------------------


class Watermarks:
    """What the product itself says can be found, and what can be."""

    def __init__(self, made: Installation) -> None:
        self._made, self._reads = made, Reads(made)
        self._client = connect(OpenSearch.model_validate({"url": made.endpoints.opensearch}))

    def close(self) -> None:
        self._reads.close()
        self._client.close()

    def wait(self, sent: Sent) -> float:
        """Until the last record of every topic can be found; seconds."""
        began = time.monotonic()
        self._made.wait(lambda: self._reached(sent), "the marker", "worker-1", PATIENCE_S)
        return time.monotonic() - began

    def _reached(self, sent: Sent) -> bool:
        try:
            hits = self.search("watermarks", {"term": {"level": "partition"}})
        except TransportError as error:
            if error.status_code != 503:  # an index that is being made has no shard yet
                raise
            return False
        found = {hit["topic"]: hit["offset"] for hit in hits}
        return all(found.get(topic, -1) >= end for topic, end in sent.ends.items())

    def search(self, kind: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        self._reads.refreshed()
        path = f"/{self._made.name}-{kind}*/_search?ignore_unavailable=true&allow_no_indices=true"
        body = {"size": 10_000, "query": query, "sort": ["_doc"]}
        found: list[dict[str, Any]] = []
        while True:
            hits = self._client.transport.perform_request("POST", path, body=body)["hits"]["hits"]
            found += [hit["_source"] for hit in hits]
            if len(hits) < body["size"]:
                return found
            body["search_after"] = hits[-1]["sort"]

    def counts(self) -> Counter[tuple[str, str]]:
        """Records by topic id and by kind or rule, from the slices of the documents."""
        found: Counter[tuple[str, str]] = Counter()
        for kind in ("occurrences", "tallies"):
            for document in self.search(kind, {"match_all": {}}):
                for key, (_, records) in document["slices"].items():
                    found[key.split("/")[0], document.get("rule", "log")] += records
        return found


def read_letters(made: Installation) -> list[Any]:
    """All of them, as they lie in the topic."""
    topic = f"{made.name}.dead-letters"
    options = {"group.id": f"{made.name}-reader", "enable.auto.commit": False, "fetch.message.max.bytes": 20_000_000}
    consumer = Consumer({"bootstrap.servers": made.endpoints.kafka, "enable.partition.eof": True, **options})
    found: list[Any] = []
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        open_ends = set(partitions)
        while open_ends:
            for message in consumer.consume(1_000, timeout=5):
                if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
                    open_ends.discard(message.partition())
                elif message.error():
                    raise AssertionError(str(message.error()))
                else:
                    found.append(message)
    finally:
        consumer.close()
    return found


def compare_letters(made: Installation, sent: Sent, letters: Sequence[Any], wrong: dict[str, list[str]]) -> int:
    """Each letter that must be is there once and holds the original; returns how many are copies."""
    held: dict[tuple[str, int, int], Any] = {}
    copies = 0
    for letter in letters:
        said = dict(letter.headers())  # of two with one name the last: ours
        place = (said[dead_letters.TOPIC].decode(), int(said[dead_letters.OFFSET]))
        index = int(said[dead_letters.INDEX])
        copies += (*place, index) in held
        held[*place, index] = letter
    for (topic, offset, index), letter in held.items():
        case = sent.cases.get((topic, offset))
        if case is None:
            wrong["totals"].append(f"a letter about {topic}/{offset}, which was never sent")
            continue
        if fault := fault_of(case, index, letter, held, (topic, offset)):
            wrong[sent.families[topic, offset]].append(f"{case.topic}: {case.name}: {fault}")
    for (topic, offset), case in sent.cases.items():
        for index in case.expect.letters:
            if (topic, offset, index) not in held:
                wrong[sent.families[topic, offset]].append(f"{case.topic}: {case.name}: no letter {index}")
    return copies


def fault_of(case: Case, index: int, letter: Any, held: dict[tuple[str, int, int], Any], place: Place) -> str:
    said = dict(letter.headers())
    if index not in case.expect.letters:
        return f"a letter at {index}: {said[dead_letters.REASON]!r} in {said[dead_letters.STAGE]!r}"
    if said[dead_letters.REASON].decode() not in case.expect.letters[index]:
        return f"reason {said[dead_letters.REASON]!r}, not {case.expect.letters[index]}"
    if said[dead_letters.STAGE] != b"DECODE":
        return f"stage {said[dead_letters.STAGE]!r}"
    ours = [name for name, _ in letter.headers()]
    start = len(ours) - 1 - ours[::-1].index(dead_letters.TOPIC)
    mine = dict(letter.headers()[start:])  # what stands before is the source's, forgeries included
    if dead_letters.VALUE_IN in mine:
        holder = held.get((*place, int(mine[dead_letters.VALUE_IN])))
        return "" if holder is not None and holder.value() == case.value else "its bytes are nowhere"
    if dead_letters.CUT_FROM in mine:
        return "" if (case.value or b"").startswith(letter.value()) else "cut, and other bytes"
    if letter.value() != case.value or letter.key() != KEY:
        return "another value or key than was sent"
    if [value for _, value in letter.headers()[:start]] != [value for _, value in case.headers]:
        return "other headers than were sent"
    return ""


def compare_totals(made: Installation, sent: Sent, marks: Watermarks, wrong: dict[str, list[str]]) -> None:
    """By topic and kind, what is counted is what was expected: nothing lost, nothing twice."""
    ids = Broker(Kafka(bootstrap_servers=made.endpoints.kafka)).topic_ids(list(sent.ends))
    expected: Counter[tuple[str, str]] = Counter()
    for (topic, _), case in sent.cases.items():
        if topic not in ids:
            continue
        for kind, number in case.expect.counted.items():
            expected[ids[topic], kind] += number
        for rule, number in case.expect.filtered.items():
            expected[ids[topic], f"{FILTERED}{rule}"] += number
    found = marks.counts()
    names = {topic_id: topic for topic, topic_id in ids.items()}
    for key in sorted(expected.keys() | found.keys()):
        if expected[key] != found[key]:
            said = f"{names.get(key[0], key[0])} {key[1]}: {found[key]} counted, {expected[key]} expected"
            wrong["totals"].append(said)
