"""Summaries on the wire: what is written is what is read, and what no worker of ours sends is refused."""

import pytest

from processors.insights import step as steps
from processors.insights.history import History
from processors.insights.step import State, step
from processors.insights.summaries import decode, encode
from processors.pipeline import Pipeline
from schemas.errors import InvalidRecord
from schemas.records import Message
from schemas.settings import Settings
from schemas.summaries import Feedback, Fired, Happened, Said, Sampled, Tick, Told

NOW_MS = 1_763_700_000_000
VALUES = {
    "logs": b'{"log": "payment 17 failed", "kubernetes": {"namespace_name": "shop", "pod_name": "pay-0"}}',
    "metrics": b'{"name": "cpu", "value": "0.5", "timestamp": "2025-11-21T04:40:00Z", "labels": {"__name__": "cpu"}}',
    "k8s-events": b'{"kind": "Event", "metadata": {"uid": "u1", "namespace": "shop"}, "type": "Warning", "count": 3,'
    b'"involvedObject": {"kind": "Pod", "name": "pay-0", "namespace": "shop"}, "reason": "BackOff", "message": "m"}',
    "alerts": b'{"version": "4", "alerts": [{"status": "firing", "labels": {"alertname": "Down", "namespace": "shop"},'
    b'"annotations": {"summary": "it is down", "runbook_url": "https://r/x"}, "startsAt": "2025-11-21T04:39:00Z",'
    b'"endsAt": "0001-01-01T00:00:00Z", "fingerprint": "f1"}]}',
}

INPUTS = [i.model_dump() for i in Settings().kafka.inputs]


def summaries(cluster: str = "") -> list[Told]:
    """Without the tick."""
    settings = Settings.model_validate({"kafka": {"inputs": [{**i, "cluster": cluster} for i in INPUTS]}})
    history = History(Pipeline.from_settings(settings))
    for topic, value in VALUES.items():
        for offset in range(3):
            assert history.take(Message(topic, f"id-{topic}", 0, offset, NOW_MS, None, value)) == []
    assert not history.rejected
    return [each for each in history.flush() if not isinstance(each, Tick)]


def test_every_kind_survives_the_wire() -> None:
    told = [*summaries(), Tick(NOW_MS), Feedback("1", "i", "f", "rejected", "me", NOW_MS, NOW_MS + 1)]
    read = [each for _, value in encode(told) for each in decode(value)]
    assert {type(each) for each in read} == {Said, Sampled, Happened, Fired, Tick, Feedback}
    assert sorted(map(repr, read)) == sorted(map(repr, told))
    said = next(each for each in read if isinstance(each, Said))
    assert (said.template, said.text) == ("payment * failed", "payment 17 failed")
    assert list(said.slices.values()) == [(2, 3)]


@pytest.mark.parametrize(
    "value", [None, b"", b"[]", b"{}", b'{"v": 2}', b'{"v": 1, "said": [[1]]}', b'{"v":1,"tick":[]}']
)
def test_what_no_worker_sends_is_refused(value: bytes | None) -> None:
    with pytest.raises(InvalidRecord):
        decode(value)


def test_a_state_goes_on_from_its_snapshot() -> None:
    state, _ = step(State(Settings().detection, Settings().correlation), summaries(), NOW_MS)
    again = State.load(state.dump(), state.detection, state.correlation)
    assert again.dump() == state.dump()


def test_made_up_clusters_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "MOST_CLUSTERS", 3)
    state = State(Settings().detection, Settings().correlation)
    for number in range(5):
        step(state, summaries(f"c{number}"), NOW_MS)
    assert list(state.clusters) == ["c2", "c3", "c4"]
    assert state.dropped == 2
    assert State.load(state.dump(), state.detection, state.correlation).dropped == 2
    monkeypatch.setattr(steps.Cluster, "open_incidents", 1)
    step(state, summaries("one too many"), NOW_MS)
    assert list(state.clusters) == ["c2", "c3", "c4"]
