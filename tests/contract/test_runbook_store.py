"""One suite over the runbook store in memory and the one in a real Redis, which the tests start themselves."""

import asyncio
import secrets
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import exceptions

from cag.registry import ValueDecoder
from cag.served import FakeRunbookStore, Outcome, Place, WritableStore
from cag.store import RunbookReader, RunbookStore, translated
from cag.topic import End
from schemas.errors import InvalidRecord, SinkMisconfigured, SinkUnavailable
from schemas.records import Message
from schemas.runbooks import Corpus, Runbook
from schemas.settings import Redis
from streams import runbooks
from streams.runbooks import Applied, Ignored, Rebuilt, apply_runbook_message, rebuild
from tests.redis_server import redis_server

TOPIC = "topic-id-1"
DECODE = ValueDecoder(None)
PATHS = ("a.md", "b.md", "c.md")
Store = WritableStore


@dataclass(frozen=True)
class Server:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, *words: str) -> str:
        line = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with redis_server() as (port, process):
        yield Server(port, process)


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[], Store]]:
    """Makes a fresh, empty store at every call."""
    opened: list[RunbookStore] = []

    def redis_store() -> Store:
        for store in opened:
            store.close()
        opened.clear()
        store = RunbookStore(Redis(url=request.getfixturevalue("server").url, namespace="contract"))
        store.delete_everything()
        opened.append(store)
        return store

    yield FakeRunbookStore if request.param == "memory" else redis_store
    for store in opened:
        store.close()


@pytest.fixture
def store(make: Callable[[], Store]) -> Store:
    """A store that has built the empty topic."""
    fresh = make()
    assert build(fresh, []) == Rebuilt(records=0, invalid=0, runbooks=0, ends={0: 0, 1: 0})
    return fresh


def record(
    offset: int,
    path: str = "a.md",
    text: str | None = "text",
    *,
    partition: int = 0,
    topic_id: str = TOPIC,
    at: int = 0,
) -> Message:
    return Message(
        topic="runbooks",
        topic_id=topic_id,
        partition=partition,
        offset=offset,
        timestamp_ms=at or offset,
        key=path.encode(),
        value=None if text is None else text.encode(),
    )


def build(
    store: Store, records: list[Message], *, topic_id: str = TOPIC, ends: tuple[int, ...] = (0, 0)
) -> Rebuilt | None:
    highest = [max([end, *(r.offset + 1 for r in records if r.partition == p)]) for p, end in enumerate(ends)]
    events: list[Message | End] = [*records, *(End(partition=p, offset=end) for p, end in enumerate(highest))]
    return rebuild(store, topic_id, iter(events), DECODE, token=secrets.token_hex(8))


def feed(store: Store, *records: Message) -> list[Applied | Ignored]:
    return [apply_runbook_message(r, store, DECODE) for r in records]


def texts(store: Store) -> dict[str, str]:
    corpus = store.snapshot()
    assert corpus is not None
    return {r.path: r.sections[0].text for r in corpus.runbooks}


def test_nothing_is_served_before_the_topic_was_read(make: Callable[[], Store]) -> None:
    store = make()
    assert (store.snapshot(), store.corpus_version()) == (None, None)
    assert store.behind(TOPIC, {0: 0, 1: 0}) == {0, 1}
    assert feed(store, record(0)) == [Ignored(path="a.md", reason=Outcome.UNBUILT)]
    assert build(store, [record(0)]) == Rebuilt(records=1, invalid=0, runbooks=1, ends={0: 1, 1: 0})
    assert texts(store) == {"a.md": "text"}
    assert store.behind(TOPIC, {0: 1, 1: 0}) == frozenset()


def test_a_change_is_served_at_once_under_a_new_version(store: Store) -> None:
    versions = [store.corpus_version()]
    for change in (record(0, text="old"), record(1, text="new"), record(2, "b.md"), record(3, text=None)):
        feed(store, change)
        versions.append(store.corpus_version())
    assert len(set(versions)) == 5
    assert texts(store) == {"b.md": "text"}
    corpus = store.snapshot()
    assert corpus is not None
    assert [(r.path, r.published_ms) for r in corpus.runbooks] == [("b.md", 2)]
    assert store.behind(TOPIC, {0: 4, 1: 0}) == frozenset()


def test_redelivery_changes_nothing_and_a_deletion_is_remembered(store: Store) -> None:
    feed(store, record(0, text="old"), record(1, text="new"), record(2, "b.md"), record(3, "b.md", None))
    version = store.corpus_version()
    again = feed(store, record(0, text="old"), record(1, text="new"), record(2, "b.md"), record(3, "b.md", None))
    assert {getattr(r, "reason", None) for r in again} == {Outcome.OLDER}
    assert texts(store) == {"a.md": "new"}
    assert store.corpus_version() == version


def test_a_deletion_outlives_its_tombstone(store: Store) -> None:
    """Compaction took value and tombstone away; a worker that was frozen with the old value in hand comes back."""
    assert build(store, [record(8, "b.md")]) is not None
    assert feed(store, record(3, text="deleted at 5")) == [Ignored(path="a.md", reason=Outcome.OLDER)]
    assert texts(store) == {"b.md": "text"}
    assert store.behind(TOPIC, {0: 9}) == frozenset()


def test_of_two_partitions_with_the_same_path_the_newer_record_is_served(store: Store) -> None:
    feed(store, record(5, text="newer", at=2_000), record(9, text="older", partition=1, at=1_000))
    assert texts(store) == {"a.md": "newer"}
    feed(store, record(6, text=None, at=3_000))
    assert texts(store) == {"a.md": "older"}


def test_a_bad_record_is_passed_over_and_keeps_the_last_good_version(store: Store) -> None:
    feed(store, record(0, text="good"))
    for bad in (record(1, text=""), record(2, "../x"), record(3, text="\x00frame")):
        with pytest.raises(InvalidRecord):
            apply_runbook_message(bad, store, DECODE)
    assert texts(store) == {"a.md": "good"}
    assert store.behind(TOPIC, {0: 4}) == frozenset()
    assert build(store, [record(1, text="")], ends=(4, 0)) == Rebuilt(
        records=1, invalid=1, runbooks=1, ends={0: 4, 1: 0}
    )
    assert texts(store) == {"a.md": "good"}


def test_a_mark_never_moves_past_a_record_that_was_not_applied(store: Store) -> None:
    feed(store, record(0), record(2, "b.md"))
    assert store.behind(TOPIC, {0: 3}) == {0}
    build(store, [record(0), record(1, "c.md"), record(2, "b.md")])
    assert store.behind(TOPIC, {0: 3}) == frozenset()
    assert set(texts(store)) == set(PATHS)


def test_a_rebuild_removes_what_the_topic_no_longer_holds_but_not_what_is_newer(store: Store) -> None:
    feed(store, record(0, "gone.md"), record(1), record(2, "live.md"))
    version = store.corpus_version()
    assert build(store, [record(1)], ends=(2, 0)) is not None
    assert set(texts(store)) == {"a.md", "live.md"}
    assert store.corpus_version() != version
    feed(store, record(0, "gone.md"))
    assert set(texts(store)) == {"a.md", "live.md"}


def test_a_new_topic_id_takes_over_in_one_step_and_the_old_one_never_returns(store: Store) -> None:
    feed(store, record(7, text="old topic"))
    version = store.corpus_version()
    new = [record(0, text="new topic", topic_id="topic-id-2"), record(1, "b.md", topic_id="topic-id-2")]
    assert feed(store, new[0]) == [Ignored(path="a.md", reason=Outcome.UNBUILT)]
    joined = store.begin("topic-id-2", "t")
    assert joined == "t"
    feed(store, *new)
    assert texts(store) == {"a.md": "old topic"}
    assert store.corpus_version() == version
    feed(store, record(8, text="still served"))
    assert texts(store) == {"a.md": "still served"}
    assert build(store, new, topic_id="topic-id-2") is not None
    assert texts(store) == {"a.md": "new topic", "b.md": "text"}
    assert store.corpus_version() != version
    assert feed(store, record(9, text="zombie")) == [Ignored(path="a.md", reason=Outcome.RETIRED)]
    assert build(store, [record(9)]) is None
    assert texts(store) == {"a.md": "new topic", "b.md": "text"}


def test_rebuilds_at_the_same_time_share_a_token_and_end_once(store: Store) -> None:
    assert store.begin(TOPIC, "one") == store.begin(TOPIC, "two") == "one"
    assert not store.finish(TOPIC, "two", {0: 9}, [])
    assert store.finish(TOPIC, "one", {0: 9}, [])
    assert not store.finish(TOPIC, "one", {0: 99}, [])
    assert store.behind(TOPIC, {0: 9}) == frozenset()
    assert store.behind(TOPIC, {0: 10}) == {0}


def test_a_rebuild_speaks_to_the_store_in_bounded_pieces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    apply_all = store.apply_all

    def counted(changes: Sequence[tuple[Place, Runbook | None]]) -> list[Outcome]:
        sizes.append(len(changes))
        return apply_all(changes)

    monkeypatch.setattr(store, "apply_all", counted)
    small = [record(n, f"{n}.md") for n in range(150)]
    large = [record(150 + n, f"large-{n}.md", "word " * 200) for n in range(5)]
    monkeypatch.setattr(runbooks, "REBUILD_BYTES", 2_000)
    assert build(store, [*small, *large]) is not None
    assert sizes == [100, 52, 3]
    assert len(texts(store)) == 155


CHANGES = st.lists(
    st.tuples(st.sampled_from(PATHS), st.integers(0, 1), st.one_of(st.none(), st.text("xy", min_size=1)))
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, choose=st.data())
def test_any_redelivery_ends_in_the_same_state(
    make: Callable[[], Store], changes: list[tuple[str, int, str | None]], choose: st.DataObject
) -> None:
    """Partitions in any interleaving, each going back to any earlier offset at any time; and a rebuild anywhere."""
    log = [record(n, path, text, partition=p, at=n + 1) for n, (path, p, text) in enumerate(changes)]
    expected: dict[tuple[int, str], Message] = {}
    for r in log:
        expected[r.partition, (r.key or b"").decode()] = r
    winners: dict[str, Message] = {}
    for (_, path), r in expected.items():
        if r.value is not None and (path not in winners or r.timestamp_ms > winners[path].timestamp_ms):
            winners[path] = r
    store = make()
    build(store, [])
    parts = [[r for r in log if r.partition == p] for p in (0, 1)]
    positions = [0, 0]
    for _ in range(choose.draw(st.integers(0, 25))):
        p = choose.draw(st.integers(0, 1))
        if parts[p]:
            positions[p] = choose.draw(st.integers(0, positions[p]))
            stop = choose.draw(st.integers(positions[p], len(parts[p])))
            feed(store, *parts[p][positions[p] : stop])
            positions[p] = stop
    if choose.draw(st.booleans()):
        build(store, log)
    for p in (0, 1):
        feed(store, *parts[p][positions[p] :])
    assert texts(store) == {path: (r.value or b"").decode() for path, r in winners.items()}


# -- what only a server can do -----------------------------------------------------------------------------------------


@pytest.fixture
def real(server: Server) -> Iterator[RunbookStore]:
    server.command("FLUSHALL")
    store = RunbookStore(Redis(url=server.url, namespace="contract"))
    build(store, [])
    yield store
    store.close()


def test_a_flushed_redis_is_noticed_and_rebuilt_under_a_new_version(server: Server, real: RunbookStore) -> None:
    log = [record(n, f"{n}.md") for n in range(5)]
    feed(real, *log)
    version = real.corpus_version()
    server.command("FLUSHALL")
    assert feed(real, record(5, "5.md")) == [Ignored(path="5.md", reason=Outcome.UNBUILT)]
    assert real.behind(TOPIC, {0: 6}) == {0}
    events: list[Message | End] = [*log, End(partition=0, offset=6)]
    assert rebuild(real, TOPIC, iter(events), DECODE, token="other") is not None
    assert len(texts(real)) == 5
    assert real.corpus_version() != version


def test_a_flush_during_a_rebuild_is_noticed(server: Server, real: RunbookStore) -> None:
    def records() -> Iterator[Message | End]:
        yield record(0)
        server.command("FLUSHALL")
        yield End(partition=0, offset=1)

    assert rebuild(real, TOPIC, records(), DECODE, token="t") is None
    assert real.snapshot() is None


@pytest.mark.parametrize(
    "loss",
    [
        ("HSET", "{contract}:runbooks:meta", "server", "0" * 40),  # restarted, failed over or restored: an older copy
        ("DEL", "{contract}:runbooks:live:entries"),  # one key evicted
        ("DEL", "{contract}:runbooks:meta"),
    ],
)
async def test_what_may_not_be_whole_is_not_served_until_it_was_rebuilt(
    server: Server, real: RunbookStore, loss: tuple[str, ...]
) -> None:
    log = [record(0), record(1, "b.md"), record(2, "c.md")]
    feed(real, *log)
    version = real.corpus_version()
    reader = RunbookReader(Redis(url=server.url, namespace="contract"))
    assert await reader.snapshot() == real.snapshot()
    server.command(*loss)
    assert (real.snapshot(), real.corpus_version(), await reader.snapshot()) == (None, None, None)
    assert real.behind(TOPIC, {0: 0}) == {0}
    assert feed(real, record(3, "d.md")) == [Ignored(path="d.md", reason=Outcome.UNBUILT)]
    build(real, [*log, record(3, "d.md")])
    assert set(texts(real)) == {*PATHS, "d.md"}
    assert real.behind(TOPIC, {0: 4}) == frozenset()
    assert real.corpus_version() != version
    assert await reader.snapshot() == real.snapshot()
    await reader.aclose()


def test_lost_marks_are_noticed(server: Server, real: RunbookStore) -> None:
    feed(real, record(0), record(1, "b.md"))
    server.command("DEL", "{contract}:runbooks:live:marks")
    feed(real, record(2, "c.md"))
    assert real.behind(TOPIC, {0: 3}) == {0}


async def test_a_reader_fetches_only_what_changed(server: Server, real: RunbookStore) -> None:
    feed(real, record(0), record(1, "b.md"), record(2, "c.md"))
    reader = RunbookReader(Redis(url=server.url, namespace="contract"))
    before = await reader.snapshot()
    assert before is not None
    assert await reader.snapshot() is before
    feed(real, record(3, "b.md", None), record(4, "c.md", "new"), record(5, "d.md"), record(6, "d.md", None))
    after = await reader.snapshot()
    assert after is not None
    assert after == real.snapshot()
    assert [r.path for r in after.runbooks] == ["a.md", "c.md"]
    assert after.runbooks[0] is before.runbooks[0]
    assert build(real, [record(0)], ends=(7, 0)) is not None  # takes out what the topic no longer holds
    last = await reader.snapshot()
    assert last is not None
    assert last == real.snapshot() != after
    server.command("FLUSHALL")
    assert await reader.snapshot() is None
    build(real, [record(0), record(1, "b.md")])
    again = await reader.snapshot()
    assert again is not None
    assert again == real.snapshot()
    assert again.runbooks[0] is last.runbooks[0]
    build(real, [record(0, topic_id="topic-id-2", text="other")], topic_id="topic-id-2")
    assert await reader.snapshot() == real.snapshot()
    await reader.aclose()


async def test_the_api_reads_what_the_worker_wrote(server: Server, real: RunbookStore) -> None:
    feed(real, record(0), record(1, "b.md"))
    reader = RunbookReader(Redis(url=server.url, namespace="contract"))
    other = RunbookReader(Redis(url=server.url, namespace="other"))
    try:
        await reader.ping()
        assert await reader.snapshot() == real.snapshot()
        assert await reader.corpus_version() == real.corpus_version()
        assert (await other.snapshot(), await other.corpus_version()) == (None, None)
    finally:
        await reader.aclose()
        await other.aclose()


async def test_a_reader_never_sees_half_of_a_swap(server: Server, real: RunbookStore) -> None:
    reader = RunbookReader(Redis(url=server.url, namespace="contract"))
    seen: set[frozenset[str]] = set()
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            corpus: Corpus | None = await reader.snapshot()
            assert corpus is not None
            seen.add(frozenset(r.version for r in corpus.runbooks))

    def swap() -> None:
        for n in range(300):
            if n >= 20 and len(seen) > 1:  # the reader may need a while to come round on a busy machine
                break
            log = [record(i, f"{i}.md", f"topic {n}", topic_id=f"topic-{n}") for i in range(20)]
            build(real, log, topic_id=f"topic-{n}")

    watcher = asyncio.create_task(watch())
    await asyncio.to_thread(swap)
    done.set()
    await watcher
    await reader.aclose()
    assert all(len(versions) <= 1 for versions in seen)
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("redis://nobody:wrong-secret@127.0.0.1:{port}/0", SinkMisconfigured),
        ("redis://:wrong-secret@127.0.0.1:9/0", SinkUnavailable),
    ],
)
def test_errors_name_the_address_and_never_the_password(server: Server, url: str, error: type[Exception]) -> None:
    store = RunbookStore(Redis(url=url.format(port=server.port), timeout_s=1))
    with pytest.raises(error, match=r"Redis at 127\.0\.0\.1:\d+") as caught:
        store.corpus_version()
    store.close()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (exceptions.NoScriptError("no matching script"), SinkUnavailable),  # restarted between two of our commands
        (exceptions.BusyLoadingError("loading"), SinkUnavailable),
        (exceptions.ResponseError("MASTERDOWN link is down"), SinkUnavailable),
        (exceptions.ResponseError("MISCONF errors writing to disk"), SinkMisconfigured),
        (exceptions.OutOfMemoryError("maxmemory"), SinkMisconfigured),
        (exceptions.ResponseError("WRONGTYPE a defect"), exceptions.ResponseError),
    ],
)
def test_what_redis_answers_decides_what_to_do(raised: Exception, error: type[Exception]) -> None:
    with pytest.raises(error), translated("127.0.0.1:6379"):
        raise raised


def test_entries_of_another_version_are_refused(real: RunbookStore) -> None:
    feed(real, record(0))
    real._redis.hset("{contract}:runbooks:live:entries", "0:a.md", b'{"path":"a.md","colour":"red"}')
    with pytest.raises(SinkMisconfigured, match="does not read"):
        real.snapshot()


def test_a_store_that_takes_any_offset_is_caught() -> None:
    """The suite can fail."""

    class Careless(FakeRunbookStore):
        def apply(self, place: Place, runbook: Runbook | None) -> Outcome:
            self._live.offsets.clear()
            self._live.marks.clear()
            return super().apply(place, runbook)

    store = Careless()
    build(store, [])
    with pytest.raises(AssertionError):
        test_redelivery_changes_nothing_and_a_deletion_is_remembered(store)
