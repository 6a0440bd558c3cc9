"""The reference load is what MEASURES says it is, and the quick encoder writes what the shop's own one writes."""

from operator import itemgetter

import orjson
import pytest

from deploy.shop import formats
from deploy.shop.telemetry import Log
from deploy.shop.topology import CLUSTER, Pod
from tests.benchmarks import corpus, sender

COUNT, END_S = 20_000, 1_800_000_000.0


def test_forty_pods_say_two_hundred_patterns() -> None:
    pods = {pod for pattern in corpus.patterns() for pod in pattern.pods}
    assert (len(pods), len(set(corpus.patterns()))) == (40, 200)
    assert {log.pod for log in corpus.lines(COUNT, END_S)} == pods


def test_frequencies_fall_with_the_rank_and_time_passes_at_the_stated_rate() -> None:
    logs = list(corpus.lines(COUNT, END_S))
    harmonic = sum(1 / rank for rank in range(1, 201))
    for rank in (1, 2, 5, 20):
        pattern = corpus.patterns()[rank - 1]
        found = sum(log.pod in pattern.pods and bool(pattern.said.search(log.text)) for log in logs)
        assert found == pytest.approx(COUNT / rank / harmonic, rel=0.2)
    assert (logs[-1].at_s, logs[0].at_s) == (END_S, pytest.approx(END_S - COUNT / 5_000, abs=0.001))


def test_a_draw_repeats_itself_and_no_other() -> None:
    first, again, other = (list(corpus.lines(COUNT, END_S, draw=draw)) for draw in (1, 1, 2))
    assert first == again
    traces = [{log.trace_id for log in drawn if log.trace_id} for drawn in (first, other)]
    assert not traces[0] & traces[1]


@pytest.mark.parametrize("keyed", [True, False])
def test_messages_hold_all_lines_of_one_pod_in_the_form_of_the_shop(keyed: bool) -> None:
    logs: dict[Pod, list[Log]] = {}
    for log in corpus.lines(COUNT, END_S):
        logs.setdefault(log.pod, []).append(log)
    expected = [
        (pod.name.encode() if keyed else None, formats.otlp_logs_json(said[start : start + 100], cluster=CLUSTER))
        for pod, said in logs.items()
        for start in range(0, len(said), 100)
    ]
    found = [(message.key, message.value) for message in corpus.by_the_hundred(COUNT, END_S, keyed=keyed)]
    assert sorted(found, key=itemgetter(1)) == sorted(expected, key=itemgetter(1))


def test_messages_made_before_are_moved_to_the_present() -> None:
    by_s = 800_000_000
    for message in corpus.by_the_hundred(COUNT, sender.MADE_FOR_S + 4.5, keyed=True):
        before, after = (_times_ns(value) for value in (message.value, sender.moved(message, by_s)))
        assert after == [time_ns + by_s * 1_000_000_000 for time_ns in before]


def _times_ns(value: bytes) -> list[int]:
    records = orjson.loads(value)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    return [int(record[name]) for record in records for name in ("timeUnixNano", "observedTimeUnixNano")]
