"""The checker's own parts, without services: what the traffic declares, the ledger's file, what the proxy rewrites."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, ClassVar

import httpx
import orjson
import pytest

from processors.decode import decode
from processors.fold import Change, Fold
from processors.index import FakeIndex
from processors.pipeline import Pipeline
from processors.writer import Writer
from schemas.documents import Target
from schemas.records import Alert, Filtered, KubernetesEvent, LogRecord, Message, MetricSample, Signal
from schemas.settings import Settings
from tests.faults import ledger, proxy
from tests.faults.check import Findings, compare
from tests.faults.proxy import Fault, Proxy
from tests.faults.sampler import Pulse, Watch, absorbed, ahead
from tests.faults.traffic import REJECTED, TOO_OLD, Sent, Traffic
from tests.faults.trials import PROVOCATIONS, SOUND
from tests.faults.worker_with import BROKEN, CRASH

NOW_S = 1_795_000_000.0
TRAFFIC = Traffic.of(2_000, seed=3, now_s=NOW_S, batch=10)
SIGNALS = {LogRecord: Signal.LOG, MetricSample: Signal.METRIC, KubernetesEvent: Signal.EVENT, Alert: Signal.ALERT}


def message_of(sent: Sent) -> Message:
    return Message(
        topic=sent.topic,
        topic_id="id",
        partition=0,
        offset=sent.number,
        timestamp_ms=sent.timestamp_ms,
        key=sent.key,
        value=sent.value,
    )


def test_the_traffic_declares_what_the_decoders_find() -> None:
    pipeline = Pipeline.from_settings(Settings())
    seen = set()
    for number in range(400):
        sent = TRAFFIC.message(number)
        items = decode(message_of(sent), pipeline.inputs[sent.topic])
        found = [
            f"filtered:{item.rule}" if isinstance(item, Filtered) else str(SIGNALS.get(type(item), REJECTED))
            for item in items
        ]
        assert found == [Signal.LOG if o == TOO_OLD else o for o in sent.outcomes]  # age is not the decoder's business
        bodies = [item.body if isinstance(item, LogRecord) and t else "" for item, t in zip(items, sent.texts)]  # noqa: B905
        assert bodies == list(sent.texts)
        assert sent.timestamp_ms < NOW_S * 1000
        seen.update(sent.outcomes)
    assert len(seen) == 8, "every outcome there is"


def test_a_message_is_a_function_of_seed_and_number() -> None:
    again = Traffic.of(2_000, seed=3, now_s=NOW_S, batch=10)
    other = Traffic.of(2_000, seed=4, now_s=NOW_S, batch=10)
    assert [again.message(n) for n in range(50)] == [TRAFFIC.message(n) for n in range(50)]
    assert [other.message(n) for n in range(50)] != [TRAFFIC.message(n) for n in range(50)]


def test_the_ledgers_file_alone_tells_what_is_known_and_what_is_not(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    file.write_text(
        "traffic 3 1.5 0.25 10\nintent 0\nintent 1\nok 1 logs 2 7\nintent 2\nunknown 2 _MSG_TIMED_OUT\nintent 3\n"
        "ok 0 logs 1 4\n"
    )
    book = ledger.read(file)
    assert (book.ok, book.unknown, book.intents) == ({("logs", 2): {7: 1}, ("logs", 1): {4: 0}}, {2, 3}, 4)
    assert book.ends() == {("logs", 2): 8, ("logs", 1): 5}
    assert book.traffic == Traffic(seed=3, start_s=1.5, step_s=0.25, batch=10)


def bulk_of(count: int) -> list[bytes]:
    return [
        b'{"%s":{"_index":"i","_id":"d%d"}}\n{"doc":{}}\n' % (b"create" if n % 2 else b"update", n)
        for n in range(count)
    ]


def test_refused_items_are_answered_in_their_places() -> None:
    items = bulk_of(4)
    assert list(proxy.split(b"".join(items))) == items
    applied = {
        "took": 1,
        "errors": False,
        "items": [{"update": {"_id": "d0", "status": 200}}, {"create": {"_id": "d3"}}],
    }
    said = orjson.loads(proxy.with_refused(orjson.dumps(applied), items, {1, 2}, 429, "busy"))
    assert [next(iter(item.values()))["_id"] for item in said["items"]] == ["d0", "d1", "d2", "d3"]
    assert [next(iter(item)) for item in said["items"]] == ["update", "create", "update", "create"]
    assert said["items"][1]["create"]["status"] == 429
    assert said["errors"] is True


class Upstream(BaseHTTPRequestHandler):
    """A bulk endpoint that applies everything; every other answer is in chunks."""

    protocol_version = "HTTP/1.1"
    applied: ClassVar[list[str]] = []
    requests = 0

    def do_POST(self) -> None:
        ids = [
            next(iter(orjson.loads(item.split(b"\n")[0]).values()))["_id"]
            for item in proxy.split(self.rfile.read(int(self.headers["content-length"])))
        ]
        Upstream.applied += ids
        Upstream.requests += 1
        body = orjson.dumps({"items": [{"update": {"_id": one, "status": 200}} for one in ids]})
        self.send_response(200)
        if Upstream.requests % 2:
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("fault", "applied", "outcome"),
    [
        (None, 8, {200}),
        (Fault.LATENCY, 8, {200}),
        (Fault.RESET, 0, "broken"),
        (Fault.LOST_REPLY, 8, "broken"),
        (Fault.CUT_REPLY, 8, "broken"),
        (Fault.ITEM_429, 6, {200, 429}),
        (Fault.ITEM_503, 6, {200, 503}),
        (Fault.ITEM_409, 7, {200, 409}),
        (Fault.READ_ONLY, 0, {403}),
        (Fault.UNAUTHORIZED, 0, 401),
        (Fault.FORBIDDEN, 0, 403),
        (Fault.OVERLOAD, 0, 429),
        (Fault.UNAVAILABLE, 0, 503),
        (Fault.HTML, 0, "<html>"),
    ],
)
def test_what_the_proxy_says_is_true(fault: Fault | None, applied: int, outcome: Any) -> None:
    server = HTTPServer(("127.0.0.1", 0), Upstream)
    Upstream.applied = []
    Thread(target=server.serve_forever, daemon=True).start()
    between = Proxy(f"http://127.0.0.1:{server.server_port}", seed=1).start()
    try:
        between.weather = {fault: 1.0} if fault else {}
        with httpx.Client() as client:
            assert told(client, between.url, b"".join(bulk_of(8))) == outcome
    finally:
        between.stop()
        server.shutdown()
        server.server_close()
    assert len(Upstream.applied) == applied
    assert between.happened.total() == (fault is not None)


def told(client: httpx.Client, url: str, body: bytes) -> Any:
    try:
        answer = client.post(f"{url}/_bulk", content=body)
    except httpx.TransportError:
        return "broken"
    if answer.status_code != 200 or answer.text.startswith("<"):
        return answer.text[:6] if answer.status_code == 200 else answer.status_code
    items = [next(iter(item.values())) for item in answer.json()["items"]]
    assert [item["_id"] for item in items] == [f"d{n}" for n in range(8)]
    return {item["status"] for item in items}


def written(numbers: range) -> tuple[dict[Target, dict[str, Any]], list[Change]]:
    """The documents that these messages become, and what the last of them adds."""
    fake, fold, pipeline = FakeIndex(), Fold(), Pipeline.from_settings(Settings())
    for number in numbers:
        pipeline.run(message_of(TRAFFIC.message(number)), fold)
    Writer(fake, bulk_bytes=1 << 30, cached_slices=10_000).write(fold, Event())
    last = Fold()
    pipeline.run(message_of(TRAFFIC.message(numbers[-1])), last)
    return fake.documents, list(last)


def test_a_record_is_held_by_documents_that_joining_it_does_not_change() -> None:
    whole = written(range(30))[0]
    for end in range(1, 30):
        before, changes = written(range(end))[0], written(range(end + 1))[1]
        assert all(absorbed(whole[change.target], change) for change in changes)
        missing = [c for c in changes if c.target not in before or not absorbed(before[c.target], c)]
        assert missing or not changes


DOCUMENT: dict[str, Any] = {"count": 5, "slices": {"t/0/0": [9, 5]}, "latest": {"order": "2"}, "template": "a"}


@pytest.mark.parametrize(
    ("now", "fine"),
    [
        (DOCUMENT, True),
        (DOCUMENT | {"count": 6, "slices": {"t/0/0": [9, 5], "t/1/0": [1, 1]}}, True),
        (DOCUMENT | {"count": 4}, False),
        (DOCUMENT | {"slices": {"t/0/0": [8, 5]}}, False),
        (DOCUMENT | {"slices": {}}, False),
        (DOCUMENT | {"latest": {"order": "1"}}, False),
    ],
)
def test_a_document_never_goes_back(now: dict[str, Any], fine: bool) -> None:
    assert ahead(now, DOCUMENT) is fine


@pytest.mark.parametrize(
    ("stored", "breaches"),
    [
        (DOCUMENT, {}),
        (DOCUMENT | {"vector": [1.0]}, {}),
        (DOCUMENT | {"slices": {"t/0/0": [9, 4]}, "count": 4}, {"lost": 1}),
        (DOCUMENT | {"slices": {"t/0/0": [9, 7]}, "count": 7}, {"doubled": 2}),
        (DOCUMENT | {"slices": {"t/0/0": [9, 5], "t/1/0": [3, 4]}, "count": 9}, {"phantom": 4}),
        (DOCUMENT | {"slices": {"t/0/0": [8, 5]}}, {"altered": 1}),
        (DOCUMENT | {"template": "b"}, {"altered": 1}),
    ],
)
def test_each_difference_of_a_document_has_its_name(stored: dict[str, Any], breaches: dict[str, int]) -> None:
    findings = Findings()
    compare(Target("occurrences", "2026.11.20", "o"), stored, DOCUMENT, findings, set())
    assert dict(findings.counts) == breaches
    assert findings.ok is (not breaches)


def test_recovery_is_when_every_partition_that_had_work_has_moved() -> None:
    one, two = ("logs", 0), ("logs", 1)
    watch = Watch(ledger.Book(TRAFFIC), Settings())
    positions = [(5, 5), (6, 5), (6, 5), (6, 7), (6, 7)]
    watch.pulses = [
        Pulse(at_s=float(at), behind={one: 9 - a, two: 9 - b}, committed={one: a, two: b})
        for at, (a, b) in enumerate(positions)
    ]
    assert (watch.recovered_s(0.0), watch.recovered_s(3.5), watch.longest_stand_s()) == (3.0, None, 1.0)
    watch.pauses = [(1.5, 2.5)]
    assert watch.longest_stand_s() == 1.0


def test_every_defect_has_its_provocation() -> None:
    assert PROVOCATIONS.keys() == {SOUND, *BROKEN}
    assert {p.crash for p in PROVOCATIONS.values()} <= {"", *CRASH}


def test_crash_points_are_methods_that_exist() -> None:
    assert all(callable(getattr(owner, method)) for owner, method, _ in CRASH.values())
