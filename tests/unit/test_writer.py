"""Patience and fairness of the writer: what waits, what is tried again, what is refused; and how answers are read."""

from collections.abc import Callable, Sequence
from threading import Event
from typing import Any

import orjson
import pytest
from opensearchpy.exceptions import ConnectionTimeout, RequestError, SerializationError, TransportError

from processors import writer
from processors.fold import Fold, Slice
from processors.index import FakeIndex, ItemOutcome, OpenSearchIndex, Write
from processors.slices import SliceCache
from processors.writer import Stopped, Writer
from schemas.documents import Names, Target
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.records import Coordinates
from schemas.settings import OpenSearch

DAY = "2026.11.20"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reasons that were logged; nobody really waits."""
    said: list[str] = []
    monkeypatch.setattr(writer, "BACKOFF_FIRST_S", 0.0)
    monkeypatch.setattr(writer.log, "warning", lambda _, reason: said.append(reason))
    return said


def fold_of(count: int, text: str = "x") -> Fold:
    """So many occurrences of one record each."""
    fold = Fold()
    for n in range(count):
        at = Coordinates("logs", "id", 0, n)
        fold.change(Target("occurrences", DAY, f"o{n}"), lambda: {"text": text}, counted=True).add(at, 1, clamped=False)
    return fold


def pen(index: Any, bulk_bytes: int = 1_000_000) -> Writer:
    return Writer(index, bulk_bytes=bulk_bytes, cached_slices=100)


class Script(FakeIndex):
    """Answers the first bulk requests as told (an exception, None, one outcome for all), then works; notes sizes."""

    def __init__(self, *answers: Any, fault: Callable[[Write], ItemOutcome | None] = lambda _: None) -> None:
        super().__init__(fault=fault)
        self.answers, self.sizes = list(answers), list[int]()

    def bulk(self, writes: Sequence[Write]) -> list[ItemOutcome] | None:
        if not writes:
            return []
        self.sizes.append(len(writes))
        answer = self.answers.pop(0) if self.answers else super().bulk(writes)
        if isinstance(answer, Exception):
            raise answer
        return [answer] * len(writes) if isinstance(answer, ItemOutcome) else answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (SinkUnavailable("away"), "away"),
        (SinkMisconfigured("no rights"), "no rights"),
        (None, "retry: unreadable answer"),
        (ItemOutcome(503), "retry: 503"),
        (ItemOutcome(429, "rejected_execution_exception: 'a secret'"), "retry: rejected_execution_exception"),
        (ItemOutcome(403, "cluster_block_exception: 'a secret'"), "pause: cluster_block_exception"),
    ],
)
def test_trouble_is_waited_for_told_once_and_never_a_letter(answer: Any, reason: str, waits: list[str]) -> None:
    index = Script(*[answer] * 4)
    one = pen(index)
    assert one.write(fold_of(3), Event()) == []
    assert (waits, one.paused, len(index.documents), len(index.sizes)) == ([reason], "", 3, 5)


def test_a_lost_race_is_run_again_without_waiting(waits: list[str]) -> None:
    assert pen(Script(*[ItemOutcome(409)] * 4)).write(fold_of(3), Event()) == []
    assert waits == []


def test_a_race_that_is_always_lost_does_not_spin(waits: list[str]) -> None:
    stop = Event()
    index = FakeIndex(fault=lambda _: stop.set() if index.calls > 20 else ItemOutcome(409))
    pen(index).write(fold_of(1), Event())
    assert waits == ["race: 409"]


@pytest.mark.parametrize("trouble", [SinkUnavailable("away"), SinkMisconfigured("no"), ItemOutcome(503), None])
def test_a_process_that_stops_does_not_wait_on(trouble: Any) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        pen(Script(*[trouble] * 2)).write(fold_of(1), stop)


def test_a_refused_document_is_judged_by_a_second_refusal_not_by_an_overload() -> None:
    """Refused, then overload, then fine: it goes in. Refused, then refused: it alone is rejected."""
    index = Script(ItemOutcome(400, "x: y"), ItemOutcome(429), ItemOutcome(503))
    assert pen(index).write(fold_of(2), Event()) == []
    assert len(index.documents) == 2
    bad = FakeIndex(fault=lambda w: ItemOutcome(400, "parse: 'a secret'") if w.target.id == "o1" else None)
    (rejection,) = pen(bad).write(fold_of(3), Event())
    assert rejection.reason == "parse"
    assert {offset for spots in rejection.spots.values() for offset in spots} == {1}


def test_a_request_refused_as_a_whole_is_halved_down_to_the_document() -> None:
    class Narrow(Script):
        def bulk(self, writes: Sequence[Write]) -> list[ItemOutcome] | None:
            if len(writes) > 3 or any(w.target.id == "o6" for w in writes):
                return [ItemOutcome(413, "too_large: x")] * len(writes)
            return super().bulk(writes)

    index = Narrow()
    (rejection,) = pen(index).write(fold_of(10), Event())
    assert (rejection.reason, len(index.documents), max(index.sizes)) == ("too_large", 9, 3)


def test_a_missing_index_is_made_once_for_all_its_documents(waits: list[str]) -> None:
    index = Script(ItemOutcome(404, "index_not_found_exception: x"))
    made: list[int] = []
    index.ensure_days = lambda targets: made.append(len(targets))  # type: ignore[method-assign]
    pen(index).write(fold_of(5), Event())
    assert (made, waits) == ([5, 5], [])  # before the write, and after the answer


def test_batches_keep_to_the_size_that_was_asked_for() -> None:
    index = Script()
    pen(index, bulk_bytes=2_000).write(fold_of(10, text="x" * 500), Event())
    assert sum(index.sizes) == 10
    assert max(index.sizes) <= 2


def test_the_cache_is_bounded_in_slices_and_drops_the_oldest() -> None:
    cache = SliceCache(4)
    for n in range(3):
        cache.put(Target("o", DAY, str(n)), {"a": Slice(1, 1), "b": Slice(2, 1)})
    cache.put(Target("o", DAY, "1"), {"b": Slice(5, 2)})
    cache.evict()
    assert [n for n in range(3) if Target("o", DAY, str(n)) in cache] == [1, 2]
    assert cache.get(Target("o", DAY, "1"), "b") == Slice(5, 2)
    assert cache.get(Target("o", DAY, "1"), "a") == Slice(1, 1)
    cache.clear()
    assert Target("o", DAY, "1") not in cache


class Transport:
    """Stands in for opensearch-py's client: answers with what it is given."""

    def __init__(self, *answers: Any) -> None:
        self.transport, self._answers = self, iter(answers)

    def perform_request(self, *_: Any, **__: Any) -> Any:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def edge(*answers: Any) -> OpenSearchIndex:
    settings = OpenSearch(url="http://user:hunter2@127.0.0.1:9200")
    return OpenSearchIndex(Transport(*answers), Names("p", "g"), settings, dimensions=2)  # type: ignore[arg-type]


WRITES = [Write(target=Target("patterns", DAY, name), fixed={"template": "a secret"}, delta=None) for name in "ab"]
GOOD = [{"create": {"_id": name, "status": 201}} for name in "ab"]
QUOTES = {"error": {"type": "parse_exception", "reason": "unexpected 'a secret'"}}


@pytest.mark.parametrize(
    ("answer", "statuses"),
    [
        ({"items": GOOD}, [201, 201]),
        ({"items": GOOD[:1]}, None),
        ({"items": GOOD[::-1]}, None),
        ({"items": [*GOOD, *GOOD]}, None),
        ({"items": "x"}, None),
        ("<html>", None),
        ([], None),
        (TransportError(413, "<html>large</html>", None), [413, 413]),
        (RequestError(400, "parse_exception", QUOTES), [413, 413]),  # an item that cannot even be parsed
    ],
)
def test_a_bulk_answer_counts_only_when_it_answers_the_question(answer: Any, statuses: list[int] | None) -> None:
    outcomes = edge(answer).bulk(WRITES)
    assert (outcomes and [outcome.status for outcome in outcomes]) == statuses


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (SerializationError("<html> with status 200"), SinkUnavailable),
        (ConnectionTimeout("N/A", "a secret", Exception("a secret")), SinkUnavailable),
        (TransportError(429, "es_rejected_execution_exception", QUOTES), SinkUnavailable),
        (TransportError(502, "<html>a secret</html>", None), SinkUnavailable),
        (TransportError(401, "Unauthorized a secret", None), SinkMisconfigured),
        (RequestError(400, "<html>a secret</html>", None), SinkMisconfigured),
        (TransportError(404, "not_found", QUOTES), SinkMisconfigured),
    ],
)
def test_errors_say_what_to_do_and_quote_neither_payload_nor_password(
    answer: Exception, error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        edge(answer).bulk(WRITES)
    assert "secret" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


TARGETS = [Target("occurrences", DAY, name) for name in "ab"]
INDEX = f"p-occurrences-g-{DAY}"
FOUND = {"_index": INDEX, "_id": "a", "found": True, "_source": {"slices": {"i/0/0": [4, 2]}}}
ABSENT = {"_index": INDEX, "_id": "b", "error": {"type": "index_not_found_exception"}}


def test_slices_are_read_back() -> None:
    assert edge({"docs": [FOUND, ABSENT]}).slices(TARGETS) == {TARGETS[0]: {"i/0/0": Slice(4, 2)}}


@pytest.mark.parametrize(
    "answer",
    [
        {"docs": [FOUND]},
        {"docs": [ABSENT, FOUND]},  # taken for each other, a document would go on from another's count
        {"docs": [FOUND, {**ABSENT, "error": {"type": "no_shard_available_action_exception"}}]},
        {"docs": [FOUND, None]},
        {},
        "<html>",
    ],
)
def test_a_read_that_answers_something_else_is_waited_for(answer: Any) -> None:
    with pytest.raises(SinkUnavailable):
        edge(answer).slices(TARGETS)


@pytest.mark.parametrize(
    ("items", "error"),
    [
        ([{"update": {"_id": "a", "status": 429}}], SinkUnavailable),
        ([{"update": {"_id": "a", "status": 400}}], SinkMisconfigured),
        ([{"update": {"_id": "a", "status": 404}}], None),  # expired meanwhile
        ([{"update": {"_id": "a", "status": 400}}, {"update": {"_id": "b", "status": 200}}], None),
        (None, SinkUnavailable),
    ],
)
def test_vectors_that_are_not_taken(items: Any, error: type[Exception] | None) -> None:
    vectors = {TARGETS[0]: [1.0, 0.0]}
    if error is None:
        edge({"items": items}).set_vectors(vectors)
        return
    with pytest.raises(error):
        edge({"items": items}).set_vectors(vectors)


def test_a_write_is_two_lines() -> None:
    lines = [orjson.loads(line) for line in edge().encode(WRITES[0]).splitlines()]
    assert lines == [{"create": {"_index": f"p-patterns-g-{DAY}", "_id": "a"}}, {"template": "a secret"}]
