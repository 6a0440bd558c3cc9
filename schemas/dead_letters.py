"""Dead letters: what could not be used, with the reason in Kafka Connect's header names, so that its tools read ours.

Key, value and headers of the source message stay as they were; its timestamp is in a header, since the topic stamps
letters with the time of rejection (see `schemas/topics.py`). Our headers come last and begin with the topic's: what
stands before that is the source's, forgeries included.

The letters of one large message share its bytes: the first holds them, the others name it (`value.in`) and carry
nothing of the source. Whoever can write to the topic can forge a letter, so that reading one checks every header and a
letter never stands for more than what it holds.
"""

import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from schemas.documents import LETTER, digest
from schemas.records import Coordinates, Message

# Kafka Connect's DeadLetterQueueReporter has all of these but those that are marked.
PREFIX: Final = "__connect.errors."
TOPIC: Final = f"{PREFIX}topic"
PARTITION: Final = f"{PREFIX}partition"
OFFSET: Final = f"{PREFIX}offset"
APPLICATION: Final = f"{PREFIX}connector.name"
WORKER: Final = f"{PREFIX}task.id"
STAGE: Final = f"{PREFIX}stage"
CLASS: Final = f"{PREFIX}class.name"  # what was at work
EXCEPTION: Final = f"{PREFIX}exception.class.name"
REASON: Final = f"{PREFIX}exception.message"
TRACE: Final = f"{PREFIX}exception.stacktrace"  # always empty: a trace may quote the payload
INDEX: Final = f"{PREFIX}index"  # ours, as all below
TOPIC_ID: Final = f"{PREFIX}topic.id"
REST: Final = f"{PREFIX}index.to"  # `end`: nothing of the message was used, and this is its last letter
GENERATION: Final = f"{PREFIX}generation"  # which index would not have it, or could not read it
TIMESTAMP_MS: Final = f"{PREFIX}timestamp"  # of the source message; the topic stamps letters when they are written
CUT_FROM: Final = f"{PREFIX}value.cut.from"  # original size in bytes, where the letter itself was too large for Kafka
VALUE_IN: Final = f"{PREFIX}value.in"  # index of the letter that holds the source message, where this one does not
CONTENT: Final = f"{PREFIX}value.digest"  # of the whole source message, where this letter does not hold it

REASON_CHARS: Final = 500
NAME_CHARS: Final = 255  # of application and worker: as long as Kafka lets a group's name be
_LONGEST: Final = 4 * REASON_CHARS  # bytes of any header of ours
_REJECTED_BY: Final = "schemas.errors.InvalidRecord"


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """What a letter says about its source message where it does not hold all of it."""

    content: str
    value_in: int | None = None  # another letter of the message does
    cut_from: int | None = None  # bytes of the value, of which this letter has the head


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One rejected record; a message with several bad records makes several letters. `reason` holds no payload."""

    message: Message
    index: int
    reason: str
    stage: str
    rest: bool = False  # of a message that was rejected altogether the last: also for what a better format finds in it

    def headers(
        self, app: str, worker: str, generation: str = "", absent: Absent | None = None
    ) -> list[tuple[str, bytes | None]]:
        """The source message's headers, then ours; ours alone where the letter does not hold the whole message."""
        source = self.message
        ours = {
            TOPIC: source.topic,
            TOPIC_ID: source.topic_id,
            PARTITION: str(source.partition),
            OFFSET: str(source.offset),
            INDEX: str(self.index),
            TIMESTAMP_MS: str(source.timestamp_ms),
            APPLICATION: app[:NAME_CHARS],
            WORKER: worker[:NAME_CHARS],
            GENERATION: generation,
            STAGE: self.stage.upper(),
            CLASS: f"processors.{self.stage}",
            EXCEPTION: _REJECTED_BY,
            REASON: self.reason[:REASON_CHARS],
            TRACE: "",
        }
        if self.rest:
            ours[REST] = "end"
        if absent is not None:
            ours[CONTENT] = absent.content
            if absent.value_in is not None:
                ours[VALUE_IN] = str(absent.value_in)
            if absent.cut_from is not None:
                ours[CUT_FROM] = str(absent.cut_from)
        return [
            *(source.headers if absent is None else ()),
            *((name, text.encode(errors="replace")) for name, text in ours.items()),
        ]


def content_of(message: Message) -> str:
    """A digest of everything that a letter keeps of its source message, empty and absent alike: 128 bits in hex."""
    seen = blake2b(digest_size=16)
    headers = (part for name, value in message.headers for part in (name.encode(errors="surrogatepass"), value))
    for part in (message.key, message.value, *headers):
        seen.update(b"%d:%b" % (len(part or b""), part or b""))
    return seen.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter as read back. Everything in it has been checked for its form, nothing for its truth."""

    partition: int  # of the letter itself, as its offset and the time at which the topic took it
    offset: int
    written_ms: int
    source: Coordinates
    timestamp_ms: int  # of the source message
    stage: str
    reason: str
    generation: str
    app: str
    worker: str
    size_bytes: int  # of the value that it holds
    rest: bool  # it stands for all records of the message from its index on, however many there turn out to be
    cut_from: int | None
    value_in: int | None
    content: str

    @property
    def complete(self) -> bool:
        """It holds all of the source message."""
        return self.value_in is None and self.cut_from is None

    @property
    def identity(self) -> str:
        """Equal for copies of one letter, and for nothing that reads in another way."""
        return self.identity_at(self.source.index)

    def identity_at(self, index: int) -> str:
        """Of the letter about another record of the same message."""
        at = self.source._replace(index=index)
        return digest("letter", str(at), str(self.timestamp_ms), self.generation, self.content)

    @property
    def holds(self) -> str:
        """Equal for all letters about one message, whichever of its records they are about."""
        return self.identity_at(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Something in the topic that is not one of our letters, and why."""

    partition: int
    offset: int
    written_ms: int
    size_bytes: int
    reason: str


def read_letter(message: Message, known: Collection[str]) -> Letter | Foreign:
    """What a message of the dead-letter topic says. `known`: topics whose records this product rejects."""
    ours, kept = _split(message)
    size = len(message.value or b"")
    try:
        topic = _text(ours, TOPIC, r"[A-Za-z0-9._-]{1,249}")
        if topic not in known:
            raise ValueError("names a topic that is none of the inputs")
        source = Coordinates(
            topic,
            _text(ours, TOPIC_ID, r"[A-Za-z0-9_-]{1,64}"),
            _number(ours, PARTITION, 31),
            _number(ours, OFFSET, 63),
            _number(ours, INDEX, 31),
        )
        value_in = _number(ours, VALUE_IN, 31) if VALUE_IN in ours else None
        cut_from = _number(ours, CUT_FROM, 63) if CUT_FROM in ours else None
        complete = value_in is None and cut_from is None
        return Letter(
            partition=message.partition,
            offset=message.offset,
            written_ms=message.timestamp_ms,
            source=source,
            timestamp_ms=_number(ours, TIMESTAMP_MS, 63),
            stage=_text(ours, STAGE, r"[A-Z-]{1,20}").lower(),
            reason=_text(ours, REASON, rf"(?s:.{{0,{REASON_CHARS}}})"),
            generation=_text(ours, GENERATION, r"[a-z0-9_-]{0,64}"),
            app=_text(ours, APPLICATION, rf"(?s:.{{0,{NAME_CHARS}}})"),
            worker=_text(ours, WORKER, rf"(?s:.{{0,{NAME_CHARS}}})"),
            size_bytes=size,
            rest=REST in ours,
            cut_from=cut_from,
            value_in=value_in,
            content=content_of(message._replace(headers=kept)) if complete else _text(ours, CONTENT, r"[0-9a-f]{32}"),
        )
    except ValueError as error:
        return Foreign(
            partition=message.partition,
            offset=message.offset,
            written_ms=message.timestamp_ms,
            size_bytes=size,
            reason=str(error),
        )


def source_message(message: Message, letter: Letter, *, topic_id: str, index: int) -> Message:
    """What a letter holds, as the message to decode: its record `index` counts under the letter's own coordinates.

    `topic_id` is that of the dead-letter topic; `message` and `letter` are those that hold the bytes.
    """
    return message._replace(
        topic_id=f"{topic_id}{LETTER}{letter.identity_at(index)}",
        timestamp_ms=letter.timestamp_ms,
        headers=_split(message)[1],
    )


def _split(message: Message) -> tuple[dict[str, bytes | None], tuple[tuple[str, bytes | None], ...]]:
    """Our headers, and the source's that stand before them. Of two with one name the last counts."""
    start = max((n for n, (name, _) in enumerate(message.headers) if name == TOPIC), default=len(message.headers))
    return dict(message.headers[start:]), message.headers[:start]


def _text(ours: dict[str, bytes | None], name: str, shape: str) -> str:
    """Raises ValueError in words that quote nothing."""
    value, shown = ours.get(name), name.removeprefix(PREFIX)
    if value is None:
        raise ValueError(f"has no header {shown}")
    if len(value) > _LONGEST:
        raise ValueError(f"its header {shown} is too long")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"its header {shown} is not UTF-8") from None
    if not re.fullmatch(shape, text):
        raise ValueError(f"its header {shown} is not one that we write")
    return sys.intern(text)  # a topic of a million letters says few different things


def _number(ours: dict[str, bytes | None], name: str, bits: int) -> int:
    text = _text(ours, name, r"[0-9]{1,19}")
    if int(text) >= 1 << bits:
        raise ValueError(f"its header {name.removeprefix(PREFIX)} is too large")
    return int(text)
