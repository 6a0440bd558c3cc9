"""Every bad message that is small enough for a unit test, mutated good ones, and all that was ever found."""

from collections.abc import Sequence
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings

from processors.fold import Fold
from processors.index import FakeIndex
from processors.pipeline import Pipeline
from processors.writer import Writer
from schemas.dead_letters import DeadLetter
from schemas.records import Format, Message
from tests.bad_input import fuzz, pure, runbooks
from tests.bad_input.case import LOG, Case, World, dumps
from tests.bad_input.families import FAMILIES, cases
from tests.bad_input.good import documents, rfc3339
from tests.bad_input.verdict import judge, message_of, pipeline

WORLD = World(at_ms=1_795_219_198_000, large_bytes=1_000_000)
SMALL_BYTES = 65_536
RUN = pipeline()


@pytest.mark.parametrize("family", pure.NAMES)
def test_each_record_ends_where_a_user_expects_it(family: str) -> None:
    (row,) = pure.run(WORLD, [family], most_bytes=SMALL_BYTES)
    assert row.cases
    assert [(verdict.case.topic, verdict.case.name, verdict.wrong) for verdict in row.wrong] == []
    assert row.notes == []


def test_there_are_thousands_of_cases_and_none_twice() -> None:
    made = [(c.topic, c.value, c.headers, c.at_ms) for family in FAMILIES for c in cases(family, WORLD)]
    assert len(set(made)) + sum(1 for _ in runbooks.values()) > 12_000


class Forgetful(Pipeline):
    """Keeps the letters to itself."""

    def run(self, message: Message, fold: Fold) -> list[DeadLetter]:
        super().run(message, fold)
        return []


class Generous(Pipeline):
    """Counts what is broken as text."""

    def run(self, message: Message, fold: Fold) -> list[DeadLetter]:
        return super().run(message, fold)[1:]


@pytest.mark.parametrize("broken", [Forgetful, Generous])
def test_a_broken_pipeline_is_noticed(broken: type[Pipeline]) -> None:
    run = broken(
        inputs=RUN.inputs,
        redact=RUN.redact,
        lines=RUN.lines,
        retention_days=RUN.retention_days,
    )
    for family in ("JSON cut at every byte", "not UTF-8", "mixed batches"):
        assert any(judge(case, WORLD, run).wrong for case in cases(family, WORLD) if case.expect.letters)


@settings(max_examples=300)
@given(fuzz.mutated())
def test_a_mutated_message_is_accounted_for_once_and_always_the_same_way(example: tuple[str, bytes]) -> None:
    topic, value = example
    why = fuzz.fault(RUN, topic, value)
    assert not why or why.startswith("took "), why  # time is for `python -m tests.bad_input --fuzz`


FOUND = sorted(fuzz.FOUND.glob("*.json"))


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.stem)
def test_what_was_found_stays_mended(file: Any) -> None:
    finding = fuzz.Finding.load(file)
    assert judge(finding.case, WORLD, RUN).wrong == "", finding.why
    assert not fuzz.fault(RUN, finding.topic, finding.value), finding.why


def stored(values: Sequence[Any], topic: str) -> dict[str, Any]:
    """The one document of a kind, after these messages."""
    index, fold = FakeIndex(), Fold()
    for offset, value in enumerate(values):
        RUN.run(message_of(Case(name="", value=dumps(value), topic=topic, expect=LOG), WORLD, offset), fold)
    Writer(index, bulk_bytes=1_000_000, cached_slices=1_000).write(fold, Event())
    (document,) = (d for target, d in index.documents.items() if target.kind in ("events", "series"))
    return document


def test_an_event_with_a_smaller_count_or_an_older_version_changes_nothing_for_the_worse() -> None:
    good = documents(WORLD.at_ms)[Format.KUBERNETES_EVENT]
    again = [
        good | {"count": 5, "message": "new", "lastTimestamp": rfc3339(WORLD.at_ms - 1_000)},
        good | {"count": 3, "message": "old", "lastTimestamp": rfc3339(WORLD.at_ms - 60_000)},
        good | {"count": 1, "message": "older", "lastTimestamp": rfc3339(WORLD.at_ms - 90_000), "metadata":
            good["metadata"] | {"resourceVersion": "1"}},
    ]  # fmt: skip
    for order in (again, again[::-1]):
        document = stored(order, "k8s-events")
        assert (document["count"], document["message"], len(document["observations"])) == (5, "new", 3)


def test_a_counter_that_begins_anew_keeps_its_range() -> None:
    def sample(value: str, second: int) -> dict[str, Any]:
        moment = rfc3339(WORLD.at_ms - 58_000 + second * 1_000)
        return documents(WORLD.at_ms)[Format.PROMETHEUS] | {"value": value, "timestamp": moment}

    samples = [sample("10", 0), sample("20", 1), sample("3", 2)]
    for order in (samples, samples[::-1]):
        (point,) = stored(order, "metrics")["points"].values()
        assert (point["v"], point["lo"], point["hi"]) == (3.0, 3.0, 20.0)
