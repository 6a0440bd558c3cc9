"""Summaries on the wire: what is written is what is read, and what no worker of ours sends is refused."""

import pytest

from processors.fold import Fold
from processors.insights.step import State, step
from processors.insights.summaries import decode, encode, summaries_of
from processors.pipeline import Pipeline
from schemas.errors import InvalidRecord
from schemas.records import Message
from schemas.settings import Settings
from schemas.summaries import Feedback, Fired, Happened, Said, Sampled, Tick

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


def folded() -> Fold:
    pipeline, fold = Pipeline.from_settings(Settings()), Fold()
    for topic, value in VALUES.items():
        for offset in range(3):
            assert pipeline.run(Message(topic, f"id-{topic}", 0, offset, NOW_MS, None, value), fold) == []
    return fold


def test_every_kind_survives_the_wire() -> None:
    told = [*summaries_of(folded()), Tick(NOW_MS), Feedback("1", "i", "f", "rejected", "me", NOW_MS, NOW_MS + 1)]
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
    state, _ = step(State(Settings().detection, Settings().correlation), list(summaries_of(folded())), NOW_MS)
    again = State.load(state.dump(), state.detection, state.correlation)
    assert again.dump() == state.dump()
