"""Dead letters: what could not be used, with the reason in Kafka Connect's header names, so that its tools read ours.

Key, value and headers of the source message stay as they were; its timestamp is in a header, since the topic stamps
letters with the time of rejection (see `schemas/topics.py`). Our headers come last: where one of the same name was
there before (a forgery, or a letter that was rejected once more), a reader takes the last one.
"""

from dataclasses import dataclass
from typing import Final

from schemas.records import Message

# Kafka Connect's DeadLetterQueueReporter has all of these but `index`, `topic.id`, `timestamp` and `generation`.
PREFIX: Final = "__connect.errors."
TOPIC: Final = f"{PREFIX}topic"
PARTITION: Final = f"{PREFIX}partition"
OFFSET: Final = f"{PREFIX}offset"
APPLICATION: Final = f"{PREFIX}connector.name"
WORKER: Final = f"{PREFIX}task.id"
STAGE: Final = f"{PREFIX}stage"
REASON: Final = f"{PREFIX}exception.message"
INDEX: Final = f"{PREFIX}index"
TOPIC_ID: Final = f"{PREFIX}topic.id"
GENERATION: Final = f"{PREFIX}generation"  # which index would not have it, or could not read it
TIMESTAMP_MS: Final = f"{PREFIX}timestamp"  # of the source message; the topic stamps letters when they are written
CUT_FROM: Final = f"{PREFIX}value.cut.from"  # original size in bytes, where the letter itself was too large for Kafka

REASON_CHARS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One rejected record; a message with several bad records makes several letters. `reason` holds no payload."""

    message: Message
    index: int
    reason: str
    stage: str

    def headers(self, app: str, worker: str, generation: str = "") -> list[tuple[str, bytes | None]]:
        """The source message's headers, then ours."""
        source = self.message
        ours = {
            TOPIC: source.topic,
            TOPIC_ID: source.topic_id,
            PARTITION: str(source.partition),
            OFFSET: str(source.offset),
            INDEX: str(self.index),
            TIMESTAMP_MS: str(source.timestamp_ms),
            APPLICATION: app,
            WORKER: worker,
            GENERATION: generation,
            STAGE: self.stage.upper(),
            REASON: self.reason[:REASON_CHARS],
        }
        return [
            *source.headers,
            *((name, text.encode(errors="replace")) for name, text in ours.items()),
        ]
