"""Mutations of good messages: whatever comes out, each record is accounted for once, and twice the same way."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from processors.fold import Fold
from processors.pipeline import Pipeline
from schemas.records import Format
from tests.bad_input.case import SIGNALS, Case, Expect, World
from tests.bad_input.good import TEXT, documents, log_batch, metric_batch, rfc3339
from tests.bad_input.verdict import counts, message_of
from tests.bad_input.wrong_types import ODD, paths, place

FOUND: Final = Path(__file__).parent / "found"
WORLD: Final = World(at_ms=1_795_219_198_000, large_bytes=10_000)
MOST_MS: Final = 250.0  # for a message of some kilobytes; a slow one is a finding, too
REASON_CHARS: Final = 100
# What decoders look for, and what breaks those who do not.
TOKENS: Final = (
    b"\x00", b"\xff", b"\x0a", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x1b[31m", b"{", b"}", b"[",
    b"]", b'"', b"\\",
    b"\\u0000", b"\\ud800", b",", b":", b"null", b"true", b"-1", b"1e400", b"NaN", b"9" * 30, b"{}", b"[]",
    b'{"a":1}', b"}\n{",
    b'"log":', b'"message":', b'"kubernetes":{', b'"metrics":[', b'"alerts":[', b'"items":[', b'"kind":"List"',
    b'"object":{',
    b'"type":"DELETED"', b'"resourceLogs":[', b'"resourceMetrics":[', b'"MESSAGE":', b"\x0a\x80", b"\x12\x02",
    b"\x00\x00\x00\x00\x01",
    b"Traceback (most recent call last):\n", b"goroutine 1 [", b"<34>1 ", b"level=error msg=",
    b"2026-13-45T99:00:00Z",
)  # fmt: skip


def seeds() -> list[tuple[str, bytes]]:
    """Good messages with the topics that they are for."""
    at_ms = WORLD.at_ms
    made = [(topic, orjson.dumps(document)) for topic, document in documents(at_ms).items()]
    moment = rfc3339(at_ms).encode()
    made += [
        (Format.OTLP_PROTO, log_batch(at_ms).SerializeToString()),
        (Format.OTLP_PROTO, metric_batch(at_ms).SerializeToString()),
        (Format.TEXT, moment + b" ERROR " + TEXT.encode() + b"\n\tat a.B.c(B.java:1)\nCaused by: x.Y: z\nnext"),
        (Format.TEXT, b"panic: x\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:1 +0x1d\nexit status 2"),
        (Format.RSYSLOG, b"<34>1 " + moment + b' web-1 app 9 ID [a b="]"] hi\n<30>Nov 20 20:00:00 web-1 su[9]: no'),
        (Format.TEXT, b'level=info ts=2026-11-20T20:00:00Z msg="till is open" err="x" trace_id=0af7651916cd43dd'),
    ]
    return made


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """A topic and a message that was good once."""
    known = seeds()
    topic, value = draw(st.sampled_from(known))
    for _ in range(draw(st.integers(0, 5))):
        value = draw(st.sampled_from(MUTATIONS))(draw, value, known)
    return draw(st.sampled_from((topic, "logs", *SIGNALS))), value


def _swap_type(draw: st.DrawFn, value: bytes, _: list[tuple[str, bytes]]) -> bytes:
    """Something else at any place inside of JSON."""
    try:
        root = json.loads(value)
    except ValueError:
        return value
    places = list(paths(root))
    if not places:
        return value
    place(root, draw(st.sampled_from(places)), draw(st.sampled_from(ODD) | st.text(max_size=20) | st.floats()))
    return json.dumps(root, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


def _graft(draw: st.DrawFn, value: bytes, known: list[tuple[str, bytes]]) -> bytes:
    """A part of one JSON message inside of another."""
    try:
        root, donor = json.loads(value), json.loads(draw(st.sampled_from(known))[1])
    except ValueError:
        return value
    places = list(paths(root))
    if not places:
        return value
    for key in draw(st.sampled_from([(), *paths(donor)])):
        donor = donor[key]
    place(root, draw(st.sampled_from(places)), donor)
    return json.dumps(root).encode(errors="surrogatepass")


def _position(draw: st.DrawFn, value: bytes) -> int:
    return draw(st.integers(0, len(value)))


def _cut(draw: st.DrawFn, value: bytes, _: list[tuple[str, bytes]]) -> bytes:
    return value[: _position(draw, value)]


def _flip(draw: st.DrawFn, value: bytes, _: list[tuple[str, bytes]]) -> bytes:
    at = _position(draw, value)
    return value[:at] + bytes([draw(st.integers(0, 255))]) + value[at + 1 :]


def _insert(draw: st.DrawFn, value: bytes, _: list[tuple[str, bytes]]) -> bytes:
    at = _position(draw, value)
    return value[:at] + draw(st.sampled_from(TOKENS)) * draw(st.sampled_from((1, 1, 2, 70, 1_000))) + value[at:]


def _remove(draw: st.DrawFn, value: bytes, _: list[tuple[str, bytes]]) -> bytes:
    start, end = sorted((_position(draw, value), _position(draw, value)))
    return value[:start] + value[end:]


def _repeat(draw: st.DrawFn, value: bytes, _: list[tuple[str, bytes]]) -> bytes:
    start, end = sorted((_position(draw, value), _position(draw, value)))
    return value[:end] + value[start:end] * draw(st.integers(1, 20)) + value[end:]


def _splice(draw: st.DrawFn, value: bytes, known: list[tuple[str, bytes]]) -> bytes:
    other = draw(st.sampled_from(known))[1]
    return value[: _position(draw, value)] + other[_position(draw, other) :]


def _batch(draw: st.DrawFn, value: bytes, known: list[tuple[str, bytes]]) -> bytes:
    other = draw(st.sampled_from(known))[1]
    return draw(st.sampled_from((b"%b\n%b", b"[%b,%b]", b"%b%b", b"%b\r\n%b\n"))) % (value, other)


Mutation = Callable[[st.DrawFn, bytes, list[tuple[str, bytes]]], bytes]
MUTATIONS: Final[tuple[Mutation, ...]] = (
    _swap_type, _swap_type, _graft, _cut, _flip, _insert, _remove, _repeat, _splice, _batch,
)  # fmt: skip


def fault(run: Pipeline, topic: str, value: bytes) -> str:
    """What is wrong with how the pipeline takes a message, '' when nothing is. Exceptions are for the caller."""
    message = message_of(Case(name="", value=value, topic=topic, expect=Expect()), WORLD, 1)
    first, second = Fold(), Fold()
    began = time.process_time()
    letters = run.run(message, first)
    took_ms = (time.process_time() - began) * 1000
    if run.run(message, second) != letters or first != second:
        return "another result the second time"
    found = counts(first)
    if first.records != sum(found.values()) + len(letters) or not first.records:
        return f"{first.records} records, {sum(found.values())} counted, {len(letters)} letters"
    if len({letter.index for letter in letters}) != len(letters):
        return "one record in two letters"
    if any(len(letter.reason) > REASON_CHARS or not letter.reason.isascii() for letter in letters):
        return "a reason that may quote the message"
    return f"took {took_ms:.0f} ms" if took_ms > MOST_MS else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`expect`: filled in by whoever mends it, as fields of `Expect`."""

    why: str
    topic: str
    value: bytes
    expect: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> "Finding":
        kept = json.loads(file.read_text())
        return cls(**kept | {"value": kept["value"].encode("latin-1")})

    @property
    def case(self) -> Case:
        letters = {int(index): tuple(reasons) for index, reasons in self.expect.get("letters", {}).items()}
        return Case(
            name=self.why, value=self.value, topic=self.topic, expect=Expect(**{**self.expect, "letters": letters})
        )

    def save(self) -> Path:
        """Keep it beside the tests, which replay all that was ever found."""
        file = FOUND / f"{blake2b(self.value, digest_size=6).hexdigest()}.json"
        kept = {"why": self.why, "topic": self.topic, "value": self.value.decode("latin-1"), "expect": self.expect}
        file.write_text(json.dumps(kept, indent=1) + "\n")
        return file


def explore(run: Pipeline, seconds: float, progress: Callable[[int], None]) -> tuple[int, Finding | None]:
    """Mutate until the time is over or something is found; how many messages were tried."""
    deadline, tried = time.monotonic() + seconds, 0
    last: list[Finding] = []

    def attempt(example: tuple[str, bytes]) -> None:
        nonlocal tried
        tried += 1
        topic, value = example
        try:
            why = fault(run, topic, value)
        except Exception as error:
            last.append(Finding(why=repr(error)[:200], topic=topic, value=value))
            raise
        if why:
            last.append(Finding(why=why, topic=topic, value=value))
            raise AssertionError(why)

    round_ = 0
    while time.monotonic() < deadline:
        round_ += 1
        check: Any = settings(max_examples=500, database=None, deadline=None, suppress_health_check=list(HealthCheck))(
            seed(round_)(given(mutated())(attempt))
        )
        try:
            check()
        except Exception:
            if not last:
                raise
            return tried, last[-1]  # hypothesis ends with the smallest
        progress(tried)
    return tried, None
