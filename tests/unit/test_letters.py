"""Dead letters counted after all: in any order, any part, any number of times, and whoever wrote them."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cag.topic import End
from processors import letters as sending
from processors.fold import Fold
from processors.index import FakeIndex, ItemOutcome
from processors.letters import LetterProducer
from processors.pipeline import Pipeline
from processors.sink import dead_letters
from processors.writer import Writer
from schemas import dead_letters as names
from schemas.dead_letters import DeadLetter, Foreign, Letter, read_letter
from schemas.records import Coordinates, Format, Message
from schemas.settings import Kafka, Settings
from streams.letters import replay as letter_replay
from streams.letters.replay import Positions, Replayer, Skip, Tally, plan
from streams.letters.scan import Catalog, Filters

KAFKA_MS = 1_795_219_198_000
LIVE = "g1a2b3c4d"
KNOWN = frozenset({"logs", "metrics", "k8s-events", "alerts", "freshet.runbooks.v1"})
AFTER = Pipeline.from_settings(Settings())
BEFORE = replace(AFTER, inputs={name: replace(i, format=Format.FLUENT_BIT) for name, i in AFTER.inputs.items()})
PASSED = Positions(topic_ids={}, committed={})


class Topic:
    """The dead-letter topic: takes what a producer is given, without a plan for partitions."""

    def __init__(self, chance: random.Random) -> None:
        self.messages: list[Message] = []
        self._chance, self._next = chance, [0, 0, 0]
        self._confirm: list[Callable[[None, object], None]] = []

    def produce(self, topic: str, *, on_delivery: Any, key: Any, value: Any, headers: Any, timestamp: int) -> None:
        self.append(key, value, headers)
        self._confirm.append(on_delivery)

    def append(self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> None:
        partition = self._chance.randrange(3)
        offset, self._next[partition] = self._next[partition], self._next[partition] + self._chance.randint(1, 2)
        self.messages.append(
            Message(
                topic="freshet.dead-letters.v1",
                topic_id="DL",
                partition=partition,
                offset=offset,
                timestamp_ms=KAFKA_MS + len(self.messages) // 3,
                key=key,
                value=value,
                headers=tuple(headers),
            )
        )

    def poll(self, _: float) -> None:
        while self._confirm:
            self._confirm.pop()(None, None)

    def __iter__(self) -> Iterator[Message | End]:
        yield from sorted(self.messages, key=lambda m: (m.partition, m.offset))

    def send(self, letters: Sequence[DeadLetter], worker: str = "w", generation: str = LIVE) -> None:
        producer = LetterProducer(Kafka(), worker, generation=generation, make=lambda _: self)
        producer.deliver(letters, threading.Event())


def message(value: bytes | None, topic: str = "logs", offset: int = 0, headers: Any = ()) -> Message:
    return Message(
        topic=topic, topic_id=f"id-{topic.replace('.', '-')}", partition=offset % 2, offset=offset,
        timestamp_ms=KAFKA_MS + offset, key=None, value=value, headers=headers,
    )  # fmt: skip


def catalog_of(topic: Topic) -> Catalog:
    catalog = Catalog(known=KNOWN)
    catalog.read(topic)
    return catalog


ALL = Filters()


def replayed(
    index: FakeIndex, topic: Topic, meant: Callable[[Letter], bool] = ALL, positions: Positions = PASSED
) -> Tally:
    """As the command does it."""
    planned = plan(catalog_of(topic), meant, inputs=AFTER.inputs, live=LIVE, positions=positions)
    pen = Writer(index, bulk_bytes=1_000_000, cached_slices=100)
    replayer = Replayer(
        pipeline=AFTER,
        topic_id="DL",
        tally=planned.tally,
        write=lambda fold: dead_letters(pen.write(fold, threading.Event()), fold),
        slices=index.slices,
    )
    replayer.run(topic, planned.wanted)
    return replayer.tally


def counted(index: FakeIndex) -> int:
    return sum(d["count"] for t, d in index.documents.items() if t.kind in ("occurrences", "tallies"))


def line(text: str) -> dict[str, Any]:
    return {"log": text, "kubernetes": {"namespace_name": "shop", "pod_name": "cart-0"}}


def event(count: int) -> dict[str, Any]:
    about = {"kind": "Pod", "name": "cart-0", "namespace": "shop"}
    meta = {"uid": f"u{count % 3}", "namespace": "shop"}
    said = {"reason": "BackOff", "message": "again", "type": "Warning", "count": count}
    times = {"firstTimestamp": str(KAFKA_MS - 5_000), "lastTimestamp": str(KAFKA_MS)}
    return {"kind": "Event", "metadata": meta, "involvedObject": about, **said, **times}


SAID = [{"timeUnixNano": f"{KAFKA_MS}000000", "body": {"stringValue": text}} for text in ("cold", "warm", "hot")]
OTLP = orjson.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": SAID}]}]})  # one line, three records
VALUES = st.one_of(
    st.tuples(st.just("logs"), st.lists(st.integers(0, 9), min_size=1, max_size=4).map(
        lambda ns: "\n".join(f"plain words {n}" for n in ns).encode())),
    st.tuples(st.just("logs"), st.lists(st.sampled_from([line("db timeout"), line("x" * 99), "bare", 7]), min_size=1,
                                        max_size=5).map(orjson.dumps)),
    st.tuples(st.just("logs"), st.sampled_from([b"", b"{", b"\xff\xfe"])),
    st.tuples(st.just("logs"), st.integers(1, 3).map(lambda n: b"\n".join([OTLP] * n))),
    st.tuples(st.just("k8s-events"), st.lists(st.builds(event, st.integers(1, 9)), max_size=3).map(orjson.dumps)),
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """Small messages share their letters and small folds are written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "SHARED_FROM_BYTES", 300)
        patch.setattr(letter_replay, "FLUSH_LETTERS", 3)
        yield


def rejected(values: Sequence[tuple[str, bytes]]) -> tuple[list[list[DeadLetter]], int]:
    """The letters of each message, and how many records the mended inputs find in what they stand for."""
    letters, expected = [], 0
    for offset, (topic, value) in enumerate(values):
        source = message(value, topic, offset)
        made = BEFORE.run(source, Fold())
        letters.append(made)
        fold = Fold()
        refused = {letter.index for letter in AFTER.run(source, fold)}
        meant = {letter.index for letter in made if letter.index < fold.records}
        if made and made[-1].rest:  # nothing of it was used, so that nothing of it may be missing
            meant = set(range(fold.records))
        expected += len(meant - refused)
    return letters, expected


@given(st.lists(VALUES, min_size=1, max_size=8), st.integers(0, 1 << 32))
@settings(max_examples=150, deadline=None)
def test_any_order_part_and_repetition_ends_in_the_same_documents(values: list[tuple[str, bytes]], seed: int) -> None:
    chance = random.Random(seed)
    topic, expected = Topic(chance), FakeIndex()
    letters, records = rejected(values)
    for run in range(2):  # the second time after crashes
        for together in letters:
            if run == 0 or chance.random() < 0.5:
                topic.send(together if run == 0 else together[chance.randint(0, 2) :], worker=f"w{run}")
    whole = replayed(expected, topic)
    assert counted(expected) == records == whole.counted.total() + whole.filtered.total()

    index = FakeIndex()
    for _ in range(4):
        share = chance.random()
        replayed(index, topic, lambda letter: random.Random(f"{letter.identity}{share}").random() < share)  # noqa: B023
    before = counted(index)
    last = replayed(index, topic)
    assert index.documents == expected.documents
    assert (last.before, counted(index)) == (before, records)
    assert replace_before(last) == replace_before(whole)


def replace_before(tally: Tally) -> Tally:
    return replace(tally, before=0)


@given(st.lists(VALUES, min_size=1, max_size=8), st.integers(0, 1 << 32))
@settings(max_examples=80, deadline=None)
def test_a_record_counts_once_whichever_of_its_copies_is_left(values: list[tuple[str, bytes]], seed: int) -> None:
    """Retention takes some copies, a zombie adds others: between one replay and the next."""
    chance = random.Random(seed)
    index, everything = FakeIndex(), Topic(chance)
    letters, records = rejected(values)
    for run in range(3):
        for together in letters:
            everything.send(together, worker=f"w{run}")
    kept = everything.messages
    for _ in range(4):
        everything.messages = chance.sample(kept, chance.randint(0, len(kept)))
        replayed(index, everything)
        assert counted(index) <= records
    everything.messages = kept
    replayed(index, everything)
    assert counted(index) == records


def one(value: bytes = b"plain words", index: int = 0, *, topic: str = "logs", headers: Any = (), **more: Any) -> Any:
    source = message(value, topic, headers=headers)
    return DeadLetter(message=source, index=index, reason="not JSON", stage="decode", **more)


def test_documents_lead_back_to_the_letter_and_no_watermark_is_moved() -> None:
    topic, index, folds = Topic(random.Random(1)), FakeIndex(), list[Fold]()
    topic.send([one()])
    (letter,) = catalog_of(topic).letters.values()
    replayer = Replayer(
        pipeline=AFTER, topic_id="DL", tally=Tally(), slices=index.slices,
        write=lambda fold: folds.append(fold) or [],
    )  # fmt: skip
    replayer.run(topic, {(letter.partition, letter.offset): [letter]})
    (fold,) = folds
    assert (fold.sources, fold.partitions) == ({}, {})
    (occurrence,) = (change for change in fold if change.target.kind == "occurrences")
    at = Coordinates.parse(next(iter(occurrence.sampled())))
    assert str(at) == f"freshet.dead-letters.v1/DL~{letter.identity}/{letter.partition}/{letter.offset}/0"
    assert list(occurrence.spots) == [f"DL~{letter.identity}/0/0"]


@pytest.mark.parametrize(
    ("letter", "generation", "positions", "outcome"),
    [
        (one(), LIVE, PASSED, {"counted": {"log": 1}}),
        (one(b"a\nb\nc", rest=True), LIVE, PASSED, {"counted": {"log": 3}}),  # none of it was used
        (one(b"a\nb\nc", 1, rest=True), LIVE, PASSED, {"counted": {"log": 2}}),
        (one(OTLP, rest=True), LIVE, PASSED, {"counted": {"log": 3}}),
        (one(b"a\nb\nc", 1), LIVE, PASSED, {"counted": {"log": 1}}),
        (one(b"a", 1), LIVE, PASSED, {"rejected": {"the message holds fewer records by now": 1}}),
        (one(b"\xff"), LIVE, PASSED, {"rejected": {"not UTF-8": 1}}),
        (one(), "g00000000", PASSED, {"skipped": {Skip.OTHER_GENERATION: 1}}),
        (one(), "", PASSED, {"skipped": {Skip.OTHER_GENERATION: 1}}),
        (one(topic="freshet.runbooks.v1"), LIVE, PASSED, {"skipped": {Skip.RUNBOOK: 1}}),
        (one(), LIVE, Positions(topic_ids={"logs": "id-logs"}, committed={}), {"skipped": {Skip.UNACKNOWLEDGED: 1}}),
        (one(), LIVE, Positions(topic_ids={"logs": "id-logs"}, committed={("logs", 0): 1}), {"counted": {"log": 1}}),
        (one(), LIVE, Positions(topic_ids={"logs": "another"}, committed={}), {"counted": {"log": 1}}),
    ],
)
def test_what_becomes_of_a_letter(letter: DeadLetter, generation: str, positions: Positions, outcome: Any) -> None:
    topic = Topic(random.Random(1))
    topic.send([letter], generation=generation)
    tally = replayed(FakeIndex(), topic, positions=positions).as_dict()
    assert {name: value for name, value in tally.items() if value} == outcome


def test_what_the_index_refuses_stays_rejected() -> None:
    topic = Topic(random.Random(1))
    topic.send([one(), one(b"other words", 1)])
    index = FakeIndex(fault=lambda w: ItemOutcome(400, "mapper_parsing_exception: no"))
    tally = replayed(index, topic)
    assert (+tally.counted, tally.rejected.total(), index.documents) == ({}, 2, {})


def test_letters_without_their_value_say_so() -> None:
    topic = Topic(random.Random(1))
    topic.send([one(b"x\n" * 400, n) for n in range(4)])
    topic.messages = [m for m in topic.messages if m.value is None]
    assert replayed(FakeIndex(), topic).skipped == {Skip.VALUE_GONE: 3}


# -- hostile letters ---------------------------------------------------------------------------------------------------


def headers_of(**changed: bytes | None) -> list[tuple[str, bytes | None]]:
    """A good letter's, with some of them changed; None: left out."""
    ours = dict(one().headers("app", "w", LIVE))
    ours |= {getattr(names, name): value for name, value in changed.items()}
    return [(name, value) for name, value in ours.items() if value is not None]


@pytest.mark.parametrize(
    "changed",
    [
        {"TOPIC": None}, {"TOPIC": b"payroll"}, {"TOPIC": b"../logs"}, {"TOPIC": b"\xff"}, {"TOPIC": b""},
        {"TOPIC_ID": b"a/b"}, {"TOPIC_ID": b"a~b"}, {"TOPIC_ID": b"x" * 65},
        {"PARTITION": b"-1"}, {"PARTITION": b"4294967296"}, {"PARTITION": "\u0663".encode()}, {"PARTITION": b"1_0"},
        {"OFFSET": b"9" * 30}, {"OFFSET": b"1e3"}, {"INDEX": b" 1"}, {"INDEX": None}, {"TIMESTAMP_MS": b"-5"},
        {"STAGE": b"\x1b[31m"}, {"REASON": b"x" * 501}, {"REASON": b"x" * 3_000_000}, {"GENERATION": b"G/.."},
        {"VALUE_IN": b"0"}, {"VALUE_IN": b"0", "CONTENT": b"z" * 32}, {"CUT_FROM": b"1"}, {"APPLICATION": b"a" * 256},
    ],
)  # fmt: skip
def test_a_forged_header_makes_it_none_of_ours(changed: dict[str, bytes | None]) -> None:
    topic = Topic(random.Random(1))
    topic.append(None, b"plain words", headers_of(**changed))
    catalog = catalog_of(topic)
    assert (catalog.letters, catalog.not_ours.total()) == ({}, 1)
    assert replayed(FakeIndex(), topic) == Tally()
    assert len(catalog.foreign[0].reason) < 80


HEADER = st.tuples(
    st.sampled_from([v for k, v in vars(names).items() if k.isupper() and isinstance(v, str)]) | st.text(max_size=5),
    st.none() | st.binary(max_size=20) | st.sampled_from([b"logs", b"0", b"1", b"DECODE", LIVE.encode(), b"a" * 32]),
)


@given(st.lists(HEADER, max_size=20), st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_letter_makes_a_reader_fail_or_a_document_with_foreign_coordinates(headers: Any, value: bytes) -> None:
    topic, index = Topic(random.Random(1)), FakeIndex()
    topic.append(b"key", value, [*headers_of(), *headers])
    topic.append(b"key", value, headers)
    assert all(isinstance(read_letter(m, KNOWN), Letter | Foreign) for m in topic.messages)
    replayed(index, topic)
    for document in index.documents.values():
        assert all(key.startswith("DL~") for key in document.get("slices", {}))
        assert all(e["at"].startswith("freshet.dead-letters.v1/DL~") for e in document.get("exemplars", ()))


def test_what_the_source_says_in_our_words_is_not_believed() -> None:
    """A producer of the input topic sends headers that look like ours."""
    forged = tuple(headers_of(TOPIC=b"alerts", OFFSET=b"7")) + ((names.VALUE_IN, b"5"), (names.REST, b"end"))
    topic = Topic(random.Random(1))
    topic.send([one(headers=forged)])
    (letter,) = catalog_of(topic).letters.values()
    assert (letter.source, letter.complete, letter.rest) == (message(b"", "logs").at(0), True, False)
    assert replayed(FakeIndex(), topic).counted == {"log": 1}


@pytest.mark.parametrize("first", [True, False])
def test_a_forged_copy_takes_no_record_away(first: bool) -> None:
    """It claims the coordinates of a letter and says something else: it is another letter, and stands for itself."""
    topic, index = Topic(random.Random(1)), FakeIndex()
    forged: list[Callable[[], None]] = [
        lambda: topic.append(None, b"forged words", headers_of()),
        lambda: topic.append(None, b"plain words", [("__value_schema_id", b"1"), *headers_of()]),
        lambda: topic.append(None, b"plain words", headers_of(TIMESTAMP_MS=b"1795219198001")),
    ]
    for each in [lambda: topic.send([one()]), *forged][:: 1 if first else -1]:
        each()
    catalog = catalog_of(topic)
    assert len(catalog.letters) == 4
    replayed(index, topic)
    texts = [e["text"] for d in index.documents.values() for e in d.get("exemplars", ())]
    assert sorted(texts) == ["forged words", "plain words", "plain words"]


def test_copies_are_folded_and_the_oldest_is_cited() -> None:
    topic = Topic(random.Random(3))
    for worker in ("w1", "w2", "w3"):
        topic.send([one()], worker=worker)
    oldest = topic.messages[0]
    (letter,) = catalog_of(topic).letters.values()
    assert (letter.worker, letter.partition, letter.offset) == ("w1", oldest.partition, oldest.offset)
    assert list(catalog_of(topic).copies.values()) == [3]
