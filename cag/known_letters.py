"""Which records are in a dead letter already: reading them again neither writes the letter again nor counts them.

Also not where they could be read by now (an input's format was mended): `dead-letters replay` counts those, and what
both had counted would be counted twice.
"""

from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from cag.topic import describe, read_to_end
from schemas.dead_letters import Foreign, read_letter
from schemas.records import Message
from schemas.settings import Kafka


class Place(NamedTuple):
    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Indices(Container[int]):
    """Records of one message: some, and all from `rest` on."""

    some: frozenset[int] = frozenset()
    rest: float = float("inf")

    def __contains__(self, index: object) -> bool:
        return index in self.some or (isinstance(index, int) and index >= self.rest)


NONE: Final = Indices()


class KnownLetters:
    """Those of one label: another generation rejects for itself."""

    def __init__(self, kafka: Kafka, label: str) -> None:
        self._kafka, self._label = kafka, label
        self._known: dict[Place, Indices] = {}

    def read(self) -> None:
        """All letters there are. Blocks; raises StartupError, SinkUnavailable, SinkMisconfigured.

        Nothing is missed afterwards: the live group commits after its letters, and a replay reads what is committed.
        """
        topic = describe(self._kafka, self._kafka.dead_letters_topic)
        found = (item for item in read_to_end(self._kafka, topic) if isinstance(item, Message))
        for place, index, rest in _letters(found, self._label, [i.topic for i in self._kafka.inputs]):
            known = self._known.get(place, NONE)
            ends = min(known.rest, index if rest else float("inf"))
            self._known[place] = Indices(known.some | {index}, ends)

    def __call__(self, message: Message) -> Indices:
        return self._known.get(Place(message.topic_id, message.partition, message.offset), NONE)


def _letters(messages: Iterator[Message], label: str, inputs: Collection[str]) -> Iterator[tuple[Place, int, bool]]:
    """Ours for this label; one that names no generation counts for all."""
    for message in messages:
        letter = read_letter(message, inputs)
        if not isinstance(letter, Foreign) and letter.generation in ("", label):
            at = letter.source
            yield Place(at.topic_id, at.partition, at.offset), at.index, letter.rest
