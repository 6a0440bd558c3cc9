"""From a record to the change of a document: identities, what is kept, what is cut, what is hidden."""

import random
from typing import Any

import pytest

from processors import shape
from processors.fold import IDENTIFIERS, PRUNE_AT, Change, Fold, count_of, delta_of
from processors.lines import CUT_MARK, Lines
from processors.merge import join, smallest
from processors.redact_records import RecordRedactor
from schemas.records import Alert, Coordinates, KubernetesEvent, LogRecord, MetricSample, Resource
from schemas.settings import Redaction

MS = 1_795_219_198_000
POD = Resource(cluster="c", namespace="shop", workload="cart", pod="cart-0", node="node-a")


def at(offset: int, topic: str = "logs") -> Coordinates:
    return Coordinates(topic, "id", 0, offset)


def log(body: str, *, severity: int = 17, resource: Resource = POD, trace_id: str = "") -> LogRecord:
    return LogRecord(time_ms=MS, resource=resource, severity=severity, body=body, trace_id=trace_id)


def folded(*records: LogRecord, limit: int = 32_768, together: bool = False) -> Fold:
    """A message for each, or one for all."""
    fold, fresh = Fold(), Lines(RecordRedactor(Redaction()), max_body_chars=limit)
    numbered = list(enumerate(records))
    for offset, said in enumerate([numbered] if together else [[(0, record)] for record in records]):
        fresh.fold(at(offset), MS, 0, said, fold)
    return fold


def only(fold: Fold, kind: str) -> Change:
    (change,) = (c for c in fold if c.target.kind == kind)
    return change


@pytest.mark.parametrize(
    ("one", "other", "patterns", "occurrences"),
    [
        (log("took 5 ms"), log("took 7 ms"), 1, 1),
        (log("down", severity=17), log("down", severity=18), 1, 1),  # error and critical are one band
        (log("down", severity=17), log("down", severity=21), 2, 2),
        (log("down"), log("down", resource=Resource(workload="cart")), 2, 2),
        (log("down"), log("up"), 2, 2),
        # The same pod, once without its node: were these one document, the first to come would decide its node.
        (
            log("down"),
            log("down", resource=Resource(cluster="c", namespace="shop", workload="cart", pod="cart-0")),
            1,
            2,
        ),
    ],
)
def test_what_makes_a_pattern_and_an_occurrence(
    one: LogRecord, other: LogRecord, patterns: int, occurrences: int
) -> None:
    for order in ((one, other), (other, one)):
        for together in (False, True):
            fold = folded(*order, together=together)
            assert (len(fold.patterns), len(fold.changes)) == (patterns, occurrences)
            assert sum(count_of(spots) for change in fold for spots in change.spots.values()) == fold.records == 2
    assert {t: c.fixed for t, c in folded(one, other).changes.items()} == {
        t: c.fixed for t, c in folded(other, one).changes.items()
    }


@pytest.mark.parametrize(
    ("severity", "kept"), [(0, 0), (1, 1), (9, 9), (10, 9), (16, 13), (17, 17), (18, 17), (20, 17), (24, 21)]
)
def test_the_severity_of_an_occurrence_is_the_lowest_of_its_band(severity: int, kept: int) -> None:
    assert only(folded(log("x", severity=severity)), "occurrences").fixed["severity_number"] == kept


def test_identifiers_do_not_depend_on_how_many_came_at_once() -> None:
    """More than one fold holds on to: the sample is the same as if each had come alone."""
    ids = [f"{n:032x}" for n in random.Random(1).sample(range(1 << 40), 3 * PRUNE_AT)]
    together = only(folded(*(log(f"trace {i}") for i in ids)), "occurrences")
    alone: dict[str, Any] = {}
    for i in ids:
        alone = join(alone, delta_of(only(folded(log(f"trace {i}")), "occurrences"), {}))
    assert join({}, delta_of(together, {}))["identifiers"] == alone["identifiers"] == smallest(ids, IDENTIFIERS)
    assert len(together.identifiers) <= PRUNE_AT


@pytest.mark.parametrize(
    ("text", "trace", "found"),
    [
        ("failed with ORA-00942 and E1234", "", {"ORA-00942", "E1234"}),
        ("id 0a1b2c3d-0000-4000-8000-0123456789ab", "", {"0a1b2c3d-0000-4000-8000-0123456789ab"}),
        ("x", "4bf92f3577b34da6a3ce929d0e0e4736", {"4bf92f3577b34da6a3ce929d0e0e4736"}),
        ("E１２３４", "", set()),  # digits of other scripts: Java and Python would hash them differently
    ],
)
def test_identifiers(text: str, trace: str, found: set[str]) -> None:
    assert only(folded(log(text, trace_id=trace)), "occurrences").identifiers == found


def test_a_long_body_is_cut_and_marked_and_no_half_secret_is_left() -> None:
    body = "a " * 50 + "ghp_" + "a1B2" * 9 + " z" * 5_000
    (exemplar,) = only(folded(log(body), limit=105), "occurrences").sampled().values()
    assert exemplar["text"] == "a " * 50 + "<reda" + CUT_MARK
    (exemplar,) = only(folded(log(body)), "occurrences").sampled().values()
    assert exemplar["text"].endswith(CUT_MARK)
    assert len(exemplar["text"]) == shape.EXEMPLAR_CHARS + len(CUT_MARK)
    (exemplar,) = only(folded(log("short")), "occurrences").sampled().values()
    assert exemplar["text"] == "short"


def event(count: int, time_ms: int, first_ms: int | None) -> KubernetesEvent:
    return KubernetesEvent(
        uid="u", time_ms=time_ms, first_ms=first_ms, resource=POD, object_kind="Pod", object_name="cart-0",
        reason="BackOff", message=f"n={count}", warning=True, count=count,
    )  # fmt: skip


def test_an_event_is_one_document_whose_count_never_goes_back() -> None:
    fold = Fold()
    for offset, (count, time_ms) in enumerate(((3, MS - 2_000), (9, MS), (1, MS - 9_000), (9, MS))):
        shape.event(fold, at(offset, "k8s"), event(count, time_ms, MS - 9_000), (time_ms, False), str, 0)
    document = join({}, delta_of(only(fold, "events"), {}))
    assert (document["count"], document["message"]) == (9, "n=9")
    assert (document["first_ms"], document["last_ms"]) == (MS - 9_000, MS)
    assert [o["n"] for _, o in sorted(document["observations"].items())] == [1, 3, 9]
    assert [o["text"] for _, o in sorted(document["observations"].items())] == ["n=1", "n=3", "n=9"]
    assert count_of(only(fold, "tallies").spots["id/0/0"]) == 4


def test_an_event_first_seen_in_the_future_is_placed_when_it_was_observed() -> None:
    fold = Fold()
    shape.event(fold, at(0), event(1, MS, MS + 99_000_000), (MS, True), str, 0)
    assert only(fold, "events").first_ms == MS


@pytest.mark.parametrize(("ends_ms", "status"), [(None, "firing"), (MS, "resolved")])
def test_an_alert_says_whether_it_fires_and_hides_secrets(ends_ms: int | None, status: str) -> None:
    fold = Fold()
    alert = Alert(
        fingerprint="f", time_ms=MS, starts_ms=MS - 5_000, ends_ms=ends_ms, resource=POD, name="Slow", severity=17,
        labels={"token": "hunter2"}, annotations={"summary": "hunter2", "runbook_url": "https://r/slow"},
    )  # fmt: skip
    shape.alert(fold, at(0), alert, (MS, False), lambda text: text.replace("hunter2", "<redacted>"), 0, MS)
    change = only(fold, "alerts")
    document = join(change.fixed, delta_of(change, {}))
    assert [o["status"] for o in document["observations"].values()] == [status]
    assert document["runbook_url"] == "https://r/slow"
    assert "hunter2" not in str(document)


def test_an_alert_keeps_what_was_said_first_and_shows_what_was_said_last() -> None:
    documents = []
    for order in ((0, 1, 2), (2, 1, 0)):
        fold = Fold()
        for n in order:
            alert = Alert(
                fingerprint="f", time_ms=MS, starts_ms=MS, ends_ms=None, resource=POD, name="Slow", severity=17,
                labels={}, annotations={"summary": f"{n} late"},
            )  # fmt: skip
            shape.alert(fold, at(9 - n), alert, (MS, False), str, 0, MS + n * 60_000)
        documents.append(join({}, delta_of(only(fold, "alerts"), {})))
    assert documents[0] == documents[1]
    assert [o["text"] for o in documents[0]["observations"].values()] == ["0 late"]
    assert documents[0]["annotations"] == {"summary": "2 late"}


def test_a_minute_of_a_series_keeps_the_last_value_and_both_extremes() -> None:
    samples = [(MS, 5.0), (MS + 2, 4.0), (MS + 1, 9.0)]
    for order in (samples, samples[::-1]):
        fold = Fold()
        for time_ms, value in order:
            sample = MetricSample(time_ms=time_ms, resource=POD, name="cpu", labels={"b": "1", "a": "2"}, value=value)
            shape.metric(fold, at(time_ms - MS), sample, (time_ms, False), str)
        (point,) = only(fold, "series").delta["items"]["values"].values()
        assert (point["v"], point["lo"], point["hi"]) == (4.0, 4.0, 9.0)
