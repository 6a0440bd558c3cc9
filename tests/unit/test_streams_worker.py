"""The worker writes only what belongs to the topics it knows, begins where it is settled, follows the live label."""

import threading
from typing import Any

import pytest
from faust.types import TP

from processors.fold import Fold
from processors.sink import Gap, Mark
from processors.writer import Stopped
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.records import Coordinates
from schemas.settings import Embedder, InputSettings, Kafka, Settings
from streams import worker as worker_module
from streams.exits import Exit
from streams.topics import Log
from streams.worker import Worker, app_of

TP0 = TP("logs", 0)


class Left(BaseException):
    def __init__(self, code: Exit) -> None:
        self.code = code


class Broker:
    def __init__(self) -> None:
        self.ids, self.away, self.log = {"logs": "ID"}, "", Log(start=0, end=9)

    def topic_ids(self, names: Any) -> dict[str, str]:
        if self.away:
            raise SinkUnavailable(self.away)
        return self.ids

    def committed(self, *_: Any) -> dict[Any, int]:
        return {}

    def logs(self, partitions: Any) -> dict[Any, Log]:
        return dict.fromkeys(partitions, self.log)


class Index:
    def __init__(self) -> None:
        self.label, self.paused, self.live, self.written = "g1", "", {"g1"}, list[Fold]()
        self.found: list[Mark] = []
        self.error: Exception | None = None

    def write(self, fold: Fold, _: Any) -> list[Any]:
        self.written.append(fold)
        return []

    def marks(self, _: Any) -> list[Mark]:
        if self.error:
            raise self.error
        return self.found

    def record_gaps(self, gaps: list[Gap]) -> list[Gap]:
        return gaps

    def live_labels(self) -> set[str]:
        return self.live

    def publish(self) -> None:
        if self.error:
            raise self.error


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    def leave(code: Exit, *_: object, **__: object) -> None:
        raise Left(code)

    monkeypatch.setattr(worker_module, "leave", leave)
    monkeypatch.setattr(worker_module, "AGAIN_S", 0.005)
    inputs = (InputSettings(topic="logs", signal="log"),)  # type: ignore[arg-type]
    kafka = Kafka(bootstrap_servers="127.0.0.1:1", inputs=inputs)
    made: Any = Worker(Settings(kafka=kafka, embedder=Embedder(kind="hashing")), {"logs"})
    made.broker, made.sink = Broker(), Index()
    return made


def fold(topic_id: str = "ID") -> Fold:
    folded = Fold()
    folded.note(Coordinates("logs", topic_id, 0, 1), None, 1)
    return folded


def gaps(worker: Any, reason: str) -> float | None:
    return worker.registry.get_sample_value("freshet_worker_gaps_total", {"topic": "logs", "reason": reason})  # type: ignore[no-any-return]


def test_records_of_a_topic_made_again_are_not_written_under_the_old_id(worker: Any) -> None:
    worker.write(fold(), threading.Event())
    worker.broker.ids = {}  # deleted: what was read of it is still its own
    worker.write(fold(), threading.Event())
    worker.broker.ids = {"logs": "NEW"}
    with pytest.raises(Left) as left:
        worker.write(fold(), threading.Event())
    assert left.value.code is Exit.REPLACED
    assert len(worker.sink.written) == 2


def test_writing_waits_while_kafka_is_away_and_gives_up_at_a_stop(worker: Any) -> None:
    stop = threading.Event()
    worker.broker.away = "Kafka at x does not answer"
    threading.Timer(0.03, stop.set).start()
    with pytest.raises(Stopped):
        worker.write(fold(), stop)
    assert worker.paused
    assert worker.registry.get_sample_value("freshet_worker_paused", {"service": "kafka"}) == 1
    worker.broker.away = ""
    worker.write(fold(), threading.Event())
    assert not worker.paused


@pytest.mark.parametrize("error", [SinkUnavailable("OpenSearch is away"), SinkMisconfigured("OpenSearch refuses us")])
async def test_settling_waits_for_the_index(worker: Any, error: Exception) -> None:
    worker.sink.error = error
    assert await worker.settle({TP0: None}) == {}
    assert worker.paused
    assert worker.registry.get_sample_value("freshet_worker_paused", {"service": "opensearch"}) == 1
    worker.sink.error = None
    assert await worker.settle({TP0: None}) == {TP0: 0}
    assert (worker.paused, worker.intake.topic_ids) == (False, {"logs": "ID"})


async def test_a_gap_is_counted_and_the_end_of_a_log_that_was_cut_is_a_reason_to_leave(worker: Any) -> None:
    worker.sink.found = [Mark(topic="logs", topic_id="ID", partition=0, offset=40)]
    worker.broker.log = Log(start=50, end=90)
    assert await worker.settle({TP0: 41}) == {TP0: 50}
    assert gaps(worker, "retention") == 1
    worker.broker.log = Log(start=0, end=9)
    with pytest.raises(Left) as left:
        await worker.settle({TP0: 41})
    assert (left.value.code, gaps(worker, "cut")) == (Exit.REPLACED, 1)


async def test_a_refused_position_of_another_topic_ends_the_worker(worker: Any) -> None:
    worker.intake.topic_ids = {"logs": "OLD"}
    with pytest.raises(Left) as left:
        await worker.settle({TP0: 41})
    assert left.value.code is Exit.REPLACED
    assert await worker.settle({TP0: None}) == {TP0: 0}  # nothing is in hand at an assignment


async def test_a_topic_that_is_gone_ends_the_worker(worker: Any) -> None:
    worker.broker.ids = {}
    with pytest.raises(Left) as left:
        await worker.settle({TP0: None})
    assert left.value.code is Exit.REPLACED


async def test_a_topic_replaced_while_settling_is_settled_again(worker: Any) -> None:
    ids = iter([{"logs": "A"}, {"logs": "B"}])
    worker.broker.topic_ids = lambda _: next(ids)
    assert await worker.settle({TP0: None}) == {}


@pytest.mark.parametrize(("live", "leaves"), [({"g1"}, False), (set(), False), ({"g1_blue"}, True), ({"g2"}, True)])
def test_the_live_label_is_followed(worker: Any, live: set[str], leaves: bool) -> None:
    worker.sink.live = live
    if leaves:
        with pytest.raises(Left) as left:
            worker.check_generation()
        assert left.value.code is Exit.SUPERSEDED
    else:
        worker.check_generation()


def test_the_last_watermarks_are_tried_once(worker: Any) -> None:
    worker.sink.error = SinkUnavailable("away")
    worker.farewell()


async def test_the_worker_is_what_its_application_reports_to(worker: Any) -> None:
    app = app_of(Settings(), worker)
    assert (app.transport.Consumer.listener, app.flusher) == (worker, worker.flusher)  # type: ignore[attr-defined]
    assert app.farewell == worker.farewell
    assert list(app.agents) == ["take-logs"]


def test_what_is_durable_is_told_before_it_is_acknowledged(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(worker.sink, "write", lambda *_: told.append("written") or [])
    monkeypatch.setattr(worker.sink, "show", lambda *_: told.append("shown") or [], raising=False)
    monkeypatch.setattr(worker.summaries, "deliver", lambda *_: told.append("told"))
    worker.write(fold(), threading.Event())
    worker.show(fold(), threading.Event())
    assert told == ["written", "told", "shown", "told"]


@pytest.mark.parametrize(
    ("enabled", "only", "steps"),
    [
        (True, {"logs"}, {"logs"}),
        (True, {"insights"}, {"freshet.summaries.v1", "freshet.insight-feedback.v1"}),
        (False, {"logs", "insights"}, {"logs"}),
    ],
)
def test_insights_are_told_where_they_are_wanted(enabled: bool, only: set[str], steps: set[str]) -> None:
    kafka = Kafka(inputs=(InputSettings(topic="logs", signal="log"),))  # type: ignore[arg-type]
    settings = Settings(kafka=kafka, embedder=Embedder(kind="hashing"), insights={"enabled": enabled})  # type: ignore[arg-type]
    made = Worker(settings, only)
    assert (set(made.steps), made.summaries is not None) == (steps, enabled)
