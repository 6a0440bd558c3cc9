"""Which dead letters exist already, so that reading a record again does not write its letter again."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from cag.topic import describe, read_to_end
from schemas import dead_letters
from schemas.dead_letters import DeadLetter
from schemas.records import Message
from schemas.settings import Kafka


class KnownLetters:
    """Distinct by source coordinates and by the generation that rejected the record.

    The topic is read when the first letter comes. By then every letter about what is replayed has been there for long:
    the live group commits after its letters, and a replay does not read beyond what is committed.
    """

    def __init__(self, kafka: Kafka, label: str) -> None:
        self._kafka, self._label = kafka, label
        self._known: set[bytes] | None = None

    def new(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Those that are not written yet. Blocks; raises StartupError, SinkUnavailable, SinkMisconfigured."""
        if not letters:
            return []
        known = self._known
        if known is None:
            topic = describe(self._kafka, self._kafka.dead_letters_topic)
            read = (item for item in read_to_end(self._kafka, topic) if isinstance(item, Message))
            known = self._known = {identity for letter in read for identity in _identities(letter, self._label)}
        return [letter for letter in letters if _of(letter) not in known]

    def delivered(self, letters: Iterable[DeadLetter]) -> None:
        if self._known is not None:
            self._known.update(map(_of, letters))


def _identities(letter: Message, label: str) -> list[bytes]:
    """Ours when the letter was written for this label; one that names no generation counts for all."""
    said: Mapping[str, bytes | None] = dict(letter.headers)  # of several of one name the last one is ours
    if said.get(dead_letters.GENERATION) not in (None, b"", label.encode()):
        return []
    names = (dead_letters.TOPIC_ID, dead_letters.PARTITION, dead_letters.OFFSET, dead_letters.INDEX)
    return [_digest(b"/".join(said.get(name) or b"" for name in names))]


def _of(letter: DeadLetter) -> bytes:
    source = letter.message
    return _digest(f"{source.topic_id}/{source.partition}/{source.offset}/{letter.index}".encode())


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=12).digest()
