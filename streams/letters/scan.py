"""Finding dead letters in their topic: a scan folds copies and finds the letter that holds each message's bytes."""

import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cag.topic import End
from schemas.dead_letters import Foreign, Letter, read_letter, source_message
from schemas.errors import StartupError
from schemas.records import Message
from schemas.settings import Kafka

FOREIGN_KEPT: Final = 1_000  # of the newest things in the topic that are not ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which letters are meant; empty: all. Times are those at which letters were written, epoch ms."""

    topic: str = ""
    stage: str = ""
    reason: str = ""
    since_ms: int = 0
    until_ms: int | None = None

    def __call__(self, letter: Letter) -> bool:
        return (
            self.topic in ("", letter.source.topic)
            and self.stage.lower() in ("", letter.stage)
            and self.reason.lower() in letter.reason.lower()
            and self.in_time(letter)
        )

    def foreign(self, thing: Foreign) -> bool:
        """What is not ours has no source and no stage that could be asked for."""
        return not (self.topic or self.stage or self.reason) and self.in_time(thing)

    def in_time(self, thing: Letter | Foreign) -> bool:
        return self.since_ms <= thing.written_ms and (self.until_ms is None or thing.written_ms < self.until_ms)


class SourcePlace(NamedTuple):
    """`nth` None: any record of that message."""

    topic: str
    partition: int
    offset: int
    nth: int | None


class LetterPlace(NamedTuple):
    partition: int
    offset: int


def parse_place(text: str) -> SourcePlace | LetterPlace:
    """`PARTITION/OFFSET` of the dead-letter topic, or `TOPIC/PARTITION/OFFSET[/INDEX]` of the source."""
    if found := re.fullmatch(r"([0-9]{1,9})/([0-9]{1,18})", text):
        return LetterPlace(int(found[1]), int(found[2]))
    if found := re.fullmatch(r"([^/]+)/([0-9]{1,9})/([0-9]{1,18})(?:/([0-9]{1,9}))?", text):
        return SourcePlace(found[1], int(found[2]), int(found[3]), int(found[4]) if found[4] else None)
    raise StartupError(
        "name a letter as PARTITION/OFFSET, or its record as TOPIC/PARTITION/OFFSET/INDEX; "
        "`python -m streams dead-letters list` shows both"
    )


@dataclass(slots=True, kw_only=True)
class Catalog:
    """All letters of the topic, each once. Holds no values: about 1 kB a letter."""

    known: Collection[str]  # topics whose records this product rejects
    letters: dict[str, Letter] = field(default_factory=dict)  # by identity
    copies: Counter[str] = field(default_factory=Counter)
    holders: dict[str, Letter] = field(default_factory=dict)  # letters with their bytes, by the message they are about
    cut: set[str] = field(default_factory=set)  # messages of which a head is all that is left
    foreign: deque[Foreign] = field(default_factory=lambda: deque(maxlen=FOREIGN_KEPT))
    not_ours: Counter[str] = field(default_factory=Counter)  # why
    starts: dict[int, int] = field(default_factory=dict)  # first offset that is still there, by partition
    ends: dict[int, int] = field(default_factory=dict)  # everything below was read

    def read(self, topic: Iterable[Message | End], tick: Callable[[int], None] = lambda _: None) -> None:
        """All that the topic holds now."""
        for found in topic:
            if isinstance(found, End):
                self.starts.setdefault(found.partition, found.offset)
                self.ends[found.partition] = found.offset
            else:
                self.add(found)
                tick(1)

    def add(self, message: Message) -> None:
        self.starts.setdefault(message.partition, message.offset)
        letter = read_letter(message, self.known)
        if isinstance(letter, Foreign):
            self.foreign.append(letter)
            self.not_ours[letter.reason] += 1
            return
        identity = letter.identity
        self.copies[identity] += 1
        self.letters[identity] = min(self.letters.get(identity, letter), letter, key=_preference)
        if letter.complete:
            holds = letter.holds
            self.holders[holds] = min(self.holders.get(holds, letter), letter, key=_preference)
        elif letter.cut_from is not None:
            self.cut.add(letter.holds)

    def holder(self, letter: Letter) -> Letter | None:
        """The letter that holds the bytes which this one is about."""
        return letter if letter.complete else self.holders.get(letter.holds)

    def chosen(self, filters: Callable[[Letter], bool]) -> list[Letter]:
        """The oldest first."""
        return sorted(filter(filters, self.letters.values()), key=by_age)

    def about(self, place: SourcePlace) -> list[Letter]:
        """Letters about one source message or record, the oldest first."""
        wanted = (place.topic, place.partition, place.offset)
        found = [x for x in self.letters.values() if (x.source.topic, x.source.partition, x.source.offset) == wanted]
        return sorted((x for x in found if place.nth in (None, x.source.index)), key=by_age)

    @property
    def removed(self) -> dict[int, int]:
        """How many offsets retention has taken from the beginning of each partition."""
        return {partition: start for partition, start in sorted(self.starts.items()) if start > 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One letter, with the message that holds its bytes (its own, where that is gone)."""

    letter: Letter | Foreign
    message: Message
    catalog: Catalog  # empty where no scan was needed
    others: Sequence[Letter]  # about the same source record or message

    @property
    def source(self) -> Message:
        """The source message as far as it is held: without our headers."""
        if isinstance(self.letter, Foreign):
            return self.message
        return source_message(self.message, self.letter, topic_id="", index=0)


def find(
    place: LetterPlace | SourcePlace,
    *,
    fetch: Callable[[LetterPlace], Message],
    scan: Callable[[], Catalog],
    known: Collection[str],
) -> Found:
    """A letter by its own place or by that of its source. Raises StartupError when there is none about the source."""
    catalog, others = Catalog(known=known), list[Letter]()
    if isinstance(place, SourcePlace):
        catalog = scan()
        if not (others := catalog.about(place)):
            named = "/".join(str(part) for part in place if part is not None)
            raise StartupError(f"there is no dead letter about {named} (any more)")
        place = LetterPlace(others[0].partition, others[0].offset)
    message = fetch(place)
    letter = read_letter(message, known)
    if isinstance(letter, Letter) and letter.value_in is not None:
        catalog = catalog if others else scan()
        if holder := catalog.holder(letter):
            message = fetch(LetterPlace(holder.partition, holder.offset))
    return Found(letter=letter, message=message, catalog=catalog, others=others[1:])


def by_age(thing: Letter | Foreign) -> tuple[int, int, int]:
    return thing.written_ms, thing.partition, thing.offset


def _preference(letter: Letter) -> tuple[Any, ...]:
    """Of several copies: one that holds its bytes, then the oldest, which later copies never displace."""
    return not letter.complete, *by_age(letter)


def known_topics(kafka: Kafka) -> frozenset[str]:
    """Topics that the worker reads, and whose records may end in a dead letter."""
    return frozenset({*(i.topic for i in kafka.inputs), kafka.runbooks_topic})
