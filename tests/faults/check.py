"""After quiescence: every document, every dead letter and every position is compared with the ledger.

Twice over: sums with what the traffic itself declared, and whole documents with those that the pure pipeline and the
index in memory make of the same records.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from threading import Event
from typing import Any, Final

from cag.topic import describe, read_to_end
from processors.fold import Fold
from processors.generation import names_for
from processors.index import FakeIndex, OpenSearchIndex
from processors.pipeline import Pipeline
from processors.scan import LEFT_OUT, scan
from processors.sink import open_index
from processors.writer import Writer
from schemas import dead_letters
from schemas.documents import Target, slice_key
from schemas.records import Coordinates, Message, Signal
from schemas.settings import Settings
from tests.faults.ledger import NUMBER, Book, Place
from tests.faults.traffic import REJECTED, Sent

SHOWN: Final = 20
FOLDED: Final = 20_000  # records at a time, as a worker would
IDLE_S: Final = 60.0
LetterKey = tuple[str, int, int, int]  # topic id, partition, offset, index


@dataclass(slots=True)
class Findings:
    """Breaches by invariant: how many, and the first of them in words."""

    counts: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)

    def add(self, invariant: str, count: int, what: str) -> None:
        if count:
            self.counts[invariant] += count
            if len(self.shown) < SHOWN:
                self.shown.append(f"{invariant}: {what}")

    @property
    def ok(self) -> bool:
        return not self.counts.total()


@dataclass(slots=True, kw_only=True)
class Expected:
    """What has to be there. Document ids hold no prefix: one expectation serves every installation on the topics."""

    documents: dict[Target, dict[str, Any]]
    logs: Counter[str]  # declared counts, by slice key
    rules: Counter[tuple[str, str]]  # by rule of a tally and slice key
    letters: dict[LetterKey, int]  # -> number of the message
    ends: dict[Place, int]
    ids: dict[str, str]  # topic -> topic id
    messages: int
    records: int


def expect(book: Book, settings: Settings, findings: Findings) -> Expected:
    """Read the topics once: what Kafka holds is what the ledger says, and all of it has to be somewhere."""
    fake = FakeIndex()
    writer = Writer(fake, bulk_bytes=1 << 30, cached_slices=10_000_000)
    pipeline, fold = Pipeline.from_settings(settings), Fold()
    ids = {i.topic: describe(settings.kafka, i.topic).topic_id for i in settings.kafka.inputs}
    made = Expected(
        documents=fake.documents, logs=Counter(), rules=Counter(), letters={}, ends={}, ids=ids, messages=0, records=0
    )
    for message, sent in held(book, settings, findings):
        made.messages += 1
        made.records += len(sent.outcomes)
        made.ends[message.topic, message.partition] = message.offset + 1
        _declare(made, message, sent)
        pipeline.run(message, fold)
        if fold.records >= FOLDED:
            writer.write(fold, Event())
            fold = Fold()
    writer.write(fold, Event())
    return made


def held(book: Book, settings: Settings, findings: Findings) -> Iterator[tuple[Message, Sent]]:
    """Every message that Kafka holds, with what was meant by it."""
    acknowledged, unknown = book.acknowledged(), set(book.unknown)
    for topic in settings.kafka.inputs:
        for message in read_to_end(settings.kafka, describe(settings.kafka, topic.topic), idle_s=IDLE_S):
            if not isinstance(message, Message):
                continue
            at = f"{message.topic}/{message.partition}/{message.offset}"
            number = int(dict(message.headers).get(NUMBER) or -1)
            noted = acknowledged.get((message.topic, message.partition), {}).pop(message.offset, None)
            if noted is None and number not in unknown:
                findings.add("broker", 1, f"{at} holds message {number}, which the ledger has elsewhere or never sent")
                continue
            sent = book.traffic.message(number)
            if noted not in (None, number) or message.value != sent.value:
                findings.add("broker", 1, f"{at} holds other bytes than message {noted}")
                continue
            yield message, sent
    for place, offsets in acknowledged.items():
        findings.add("broker", len(offsets), f"{place} has lost offsets {sorted(offsets)[:SHOWN]}")


def _declare(made: Expected, message: Message, sent: Sent) -> None:
    key = slice_key(message.topic_id, message.partition, message.offset)
    for index, outcome in enumerate(sent.outcomes):
        if outcome == REJECTED:
            made.letters[message.topic_id, message.partition, message.offset, index] = sent.number
        elif outcome == Signal.LOG:
            made.logs[key] += 1
        else:
            made.rules[str(outcome), key] += 1


def audit(
    expected: Expected, book: Book, settings: Settings, committed: Mapping[Place, int], findings: Findings
) -> None:
    """All invariants on what one installation has made of the topics; breaches go to `findings`."""
    index = open_index(settings, names_for(settings).generation)
    blamed = _documents(expected, book, index, findings)
    letters(expected.letters, book, settings, findings)
    for place, end in expected.ends.items():
        if committed.get(place) != end:
            findings.add("position", 1, f"{place} is committed to {committed.get(place)}, its end is {end}")
    if blamed:
        places = list(islice(blame(blamed, expected, book, settings), SHOWN))
        findings.shown.append(f"records of the documents above: {', '.join(places)}")


def _documents(expected: Expected, book: Book, index: OpenSearchIndex, findings: Findings) -> set[tuple[Target, str]]:
    """Compare all documents; returns which (document, slice) the breaches are in."""
    logs: Counter[str] = Counter()
    rules: Counter[tuple[str, str]] = Counter()
    missing, blamed = set(expected.documents), set[tuple[Target, str]]()
    said: dict[str, list[dict[str, Any]]] = {}  # exemplars by the message that they are from
    pointed, patterns = set[tuple[str, str]](), set[tuple[str, str]]()
    for target, source in scan(index):
        missing.discard(target)
        slices = source.get("slices") or {}
        if target.kind == "occurrences":
            pointed.add((target.day, source["pattern_id"]))
            logs.update({key: count for key, (_, count) in slices.items()})
            for exemplar in source["exemplars"]:
                said.setdefault(exemplar["at"].rpartition("/")[0], []).append(exemplar)
        elif target.kind == "tallies":
            rules.update({(source["rule"], key): count for key, (_, count) in slices.items()})
        elif target.kind == "patterns":
            patterns.add((target.day, source["pattern_id"]))
        compare(target, source, expected.documents.get(target), findings, blamed)
    _texts(said, expected, book, findings)
    for target in missing:
        wanted = expected.documents[target]
        findings.add("lost", weight(wanted), f"{target.kind} {target.id} of {target.day} is not there")
        blamed.update((target, key) for key in wanted.get("slices", {}))
    findings.add("pattern", len(pointed - patterns), f"occurrences without pattern: {sorted(pointed - patterns)[:3]}")
    for name, counted, declared in (("lines", logs, expected.logs), ("records by rule", rules, expected.rules)):
        for key in counted.keys() | declared.keys():
            if counted[key] != declared[key]:
                findings.add("conservation", 1, f"{name} of {key}: {counted[key]} counted, {declared[key]} sent")
    return blamed


def compare(
    target: Target,
    source: Mapping[str, Any],
    wanted: Mapping[str, Any] | None,
    findings: Findings,
    blamed: set[tuple[Target, str]],
) -> None:
    name = f"{target.kind} {target.id} of {target.day}"
    if wanted is None:
        findings.add("phantom", weight(source), f"{name} should not be there")
        return
    have, want = source.get("slices") or {}, wanted.get("slices") or {}
    for key in have.keys() | want.keys():
        more = (have[key][1] if key in have else 0) - (want[key][1] if key in want else 0)
        invariant = "lost" if more < 0 else "doubled" if key in want else "phantom"
        findings.add(invariant, abs(more), f"{name}, slice {key}: {have.get(key)}, expected {want.get(key)}")
        if more:
            blamed.add((target, key))
    known = LEFT_OUT | (
        {"slices", "count"} if any((target, key) in blamed for key in have.keys() | want.keys()) else set()
    )
    differing = sorted(f for f in (source.keys() | wanted.keys()) - known if source.get(f) != wanted.get(f))
    if differing:
        field = differing[0]
        findings.add("altered", 1, f"{name}: {field} is {source.get(field)!r}, expected {wanted.get(field)!r}"[:300])


def weight(document: Mapping[str, Any]) -> int:
    """Records that a document counts; one for those that are counted in a tally."""
    return sum(count for _, count in document["slices"].values()) if document.get("slices") else 1


def _texts(said: Mapping[str, Sequence[Mapping[str, Any]]], expected: Expected, book: Book, findings: Findings) -> None:
    """What an exemplar says is what was sent at its coordinates."""
    for exemplars in said.values():
        at = Coordinates.parse(exemplars[0]["at"])
        if at.topic_id != expected.ids.get(at.topic):
            findings.add("phantom", len(exemplars), f"exemplars from {at}, a topic that is not ours")
            continue
        number = book.ok.get((at.topic, at.partition), {}).get(at.offset)
        texts = book.traffic.message(number).texts if number is not None else ()
        for exemplar in exemplars if texts else ():
            if texts[Coordinates.parse(exemplar["at"]).index] != exemplar["text"]:
                findings.add("text", 1, f"{exemplar['at']} says {exemplar['text'][:100]!r}")


def letters(expected: Mapping[LetterKey, int], book: Book, settings: Settings, findings: Findings) -> None:
    """Each rejected record has one distinct letter with the original bytes; copies are the same."""
    missing = set(expected)
    for key, letter in read_letters(settings):
        number = expected.get(key)
        missing.discard(key)
        if number is None:
            findings.add("phantom", 1, f"a dead letter for {key}")
            continue
        sent = book.traffic.message(number)
        if (letter.value, letter.key) != (sent.value, sent.key):
            findings.add("letter", 1, f"the dead letter for {key} has other bytes than message {number}")
    findings.add("lost", len(missing), f"no dead letter for {sorted(missing)[:3]}")


def read_letters(settings: Settings) -> Iterator[tuple[LetterKey, Message]]:
    """Every dead letter with the coordinates of its record, copies included."""
    topic = describe(settings.kafka, settings.kafka.dead_letters_topic)
    for letter in read_to_end(settings.kafka, topic, idle_s=IDLE_S):
        if isinstance(letter, Message):
            said = {name: (value or b"").decode() for name, value in letter.headers}
            at = (dead_letters.PARTITION, dead_letters.OFFSET, dead_letters.INDEX)
            partition, offset, index = (int(said[name]) for name in at)
            yield (said[dead_letters.TOPIC_ID], partition, offset, index), letter


def blame(documents: Iterable[tuple[Target, str]], expected: Expected, book: Book, settings: Settings) -> Iterator[str]:
    """The records that belong into these (document, slice): the breach is among them."""
    wanted, run = set(documents), tracer(settings, expected.ids)
    for place, offsets in book.acknowledged().items():
        for offset, number in sorted(offsets.items()):
            changes = run(place, offset, book.traffic.message(number)).changes
            for target, change in changes.items():
                yield from (
                    f"{place[0]}/{place[1]}/{at}/{nth}"
                    for key, spots in change.spots.items()
                    if (target, key) in wanted
                    for at, numbers in spots.items()
                    for nth in numbers
                )


def tracer(settings: Settings, ids: Mapping[str, str]) -> Callable[[Place, int, Sent], Fold]:
    """What one message alone becomes."""
    pipeline = Pipeline.from_settings(settings)

    def run(place: Place, offset: int, sent: Sent) -> Fold:
        fold = Fold()
        message = Message(
            topic=place[0],
            topic_id=ids[place[0]],
            partition=place[1],
            offset=offset,
            timestamp_ms=sent.timestamp_ms,
            key=sent.key,
            value=sent.value,
        )
        pipeline.run(message, fold)
        return fold

    return run
