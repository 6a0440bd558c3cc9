"""The index and its fake obey the same laws: the merge script and its Python twin, creation once, reading back."""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from deploy.local.services import Endpoints
from processors.fold import Slice
from processors.index import (
    PAGE_PATTERNS,
    PAGE_SAMPLE,
    PAGE_WORKLOADS,
    FakeIndex,
    Index,
    OpenSearchIndex,
    Write,
    connect,
)
from processors.insights.documents import write_of
from processors.merge import join
from schemas.documents import Names, Target
from schemas.settings import OpenSearch
from tests.unit.insight_cases import START, insight, later

DAY = "2026.11.20"


class Subject(Protocol):
    index: Index

    def read(self, target: Target) -> dict[str, Any]: ...

    def refresh(self) -> None: ...


class Fake:
    def __init__(self) -> None:
        self.index = FakeIndex()

    def read(self, target: Target) -> dict[str, Any]:
        return self.index.documents[target]

    def refresh(self) -> None:
        pass


class Real:
    def __init__(self, endpoints: Endpoints) -> None:
        settings = OpenSearch(url=endpoints.opensearch, prefix=f"contract{random.randrange(10**9)}")
        self.index = OpenSearchIndex(connect(settings), Names(settings.prefix, "gtest"), settings, dimensions=4)
        self.index.install()

    def read(self, target: Target) -> dict[str, Any]:
        return self.index.request("GET", f"/{self.index.names.index(target)}/_doc/{target.id}")["_source"]

    def refresh(self) -> None:
        self.index.request("POST", f"/{self.index.names.prefix}-*/_refresh")

    def remove(self) -> None:
        prefix = self.index.names.prefix
        indices = self.index.request("GET", f"/{prefix}-*")
        self.index.request("DELETE", f"/{','.join(indices)}")
        self.index.request("DELETE", f"/_index_template/{prefix}-*")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.integration)])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    if request.param == "fake":
        yield Fake()
    else:
        real = Real(request.getfixturevalue("endpoints"))
        yield real
        real.remove()


def exemplar(at: int, t: int) -> dict[str, Any]:
    return {"at": f"logs/id/0/{at}/0", "h": f"{at * 7919 % 1000:03d}", "t": t, "text": f"line {at}"}


OCCURRENCE_DELTAS = [
    {"slices": {"id/0/0": [10, 2]}, "first_ms": 5000, "last_ms": 9000, "clamped": False,
     "exemplars": [exemplar(n, 1000 + n) for n in (3, 9)], "exemplar_limit": 3,
     "identifiers": ["E1234", "abc"], "identifier_limit": 3},
    {"slices": {"id/0/0": [20, 5]}, "first_ms": 4000, "last_ms": 8000, "clamped": True,
     "exemplars": [exemplar(n, 1000 + n) for n in range(11, 19)], "exemplar_limit": 3,
     "identifiers": ["zzz", "E77", "E1234"], "identifier_limit": 3},
    # The same mark as above with a smaller count: begun after a loss.
    {"slices": {"id/0/0": [20, 4], "id/1/0": [7, 1], "id/0/1": [1048580, 3]},
     "first_ms": 6000, "last_ms": 9500, "clamped": False,
     "exemplars": [exemplar(1, 900)], "exemplar_limit": 3},
]  # fmt: skip
STATE_DELTAS = [
    {"max": {"count": 3}, "first_ms": 1, "last_ms": 30, "clamped": False,
     "items": {"field": "observations", "limit": 2, "values": {"030": {"o": "a", "t": 30}}},
     "latest": {"order": "030/a", "values": {"message": "third", "warning": True}}},
    {"max": {"count": 9}, "first_ms": 1, "last_ms": 50, "clamped": False,
     "items": {"field": "observations", "limit": 2, "values": {"050": {"o": "b", "t": 50}, "030": {"o": "c", "t": 31}}},
     "latest": {"order": "050/b", "values": {"message": "ninth", "warning": True}}},
    {"max": {"count": 1}, "first_ms": 1, "last_ms": 10, "clamped": False,
     "items": {"field": "observations", "limit": 2, "values": {"010": {"o": "d", "t": 10}}},
     "latest": {"order": "010/d", "values": {"message": "first", "warning": False}}},
]  # fmt: skip
POINT_DELTAS = [
    {"items": {"field": "points", "limit": 60, "values": {"060": {"o": o, "v": v, "lo": v, "hi": v}}}}
    for o, v in (("1", 5.0), ("3", 4.0), ("2", 9.5))
]
EVENT = {"reason": "BackOff", "uid": "u"}
OPENED = insight()
RESOLVED = later(OPENED, 7, state="resolved", resolved=START)
INCIDENT = (OPENED, RESOLVED, later(RESOLVED, 9, resolved=None, reopened=1))


@pytest.mark.parametrize(
    ("kind", "fixed", "deltas"),
    [
        ("occurrences", {"pattern_id": "p", "minute_ms": 0}, OCCURRENCE_DELTAS),
        ("events", EVENT, STATE_DELTAS),
        ("series", {"name": "cpu", "series_id": "s"}, POINT_DELTAS),
        ("insights", write_of(INCIDENT[0]).fixed, [dict(write_of(told).delta or {}) for told in INCIDENT]),
    ],
)
def test_every_order_and_every_repetition_end_in_the_same_document(
    subject: Subject, kind: str, fixed: dict[str, Any], deltas: list[dict[str, Any]]
) -> None:
    expected = join(join(join(fixed, deltas[0]), deltas[1]), deltas[2])
    subject.index.ensure_days([Target(kind, DAY, "")])
    for number, order in enumerate(itertools.permutations(deltas)):
        target = Target(kind, DAY, f"{kind}-{number}")
        for delta in (*order, order[0], *reversed(order)):
            outcomes = subject.index.bulk([Write(target=target, fixed=fixed, delta=delta)])
            assert outcomes is not None
            assert outcomes[0].status in (200, 201), outcomes
        assert subject.read(target) == expected


def test_the_join_keeps_what_it_promises() -> None:
    occurrence: dict[str, Any] = {}
    for delta in OCCURRENCE_DELTAS:
        occurrence = join(occurrence, delta)
    assert occurrence["count"] == 5 + 1 + 3
    assert (occurrence["first_ms"], occurrence["last_ms"], occurrence["clamped"]) == (4000, 9500, True)
    assert occurrence["exemplars"][0]["t"] == 900
    assert occurrence["exemplars"][-1]["t"] == 1018
    assert len(occurrence["exemplars"]) <= 5
    event: dict[str, Any] = {}
    for delta in STATE_DELTAS:
        event = join(event, delta)
    assert (event["count"], event["message"], list(event["observations"])) == (9, "ninth", ["030", "050"])


def test_patterns_are_created_once(subject: Subject) -> None:
    target = Target("patterns", DAY, "p")
    subject.index.ensure_days([target])
    write: Callable[[str], Write] = lambda text: Write(target=target, fixed={"template": text}, delta=None)  # noqa: E731
    first, second = subject.index.bulk([write("one")]), subject.index.bulk([write("two")])
    assert first is not None
    assert second is not None
    assert (first[0].status, second[0].status) == (201, 409)
    assert subject.read(target)["template"] == "one"


def test_slices_are_read_back_before_a_refresh(subject: Subject) -> None:
    target, missing = Target("occurrences", DAY, "o"), Target("occurrences", DAY, "none")
    subject.index.ensure_days([target])
    subject.index.bulk([Write(target=target, fixed={"pattern_id": "p"}, delta=OCCURRENCE_DELTAS[2])])
    found = subject.index.slices([missing, target])
    assert found == {target: {"id/0/0": Slice(20, 4), "id/1/0": Slice(7, 1), "id/0/1": Slice(1048580, 3)}}


def patterns(workload: str, count: int) -> list[Write]:
    """The day of each by its number: a page holds several days."""
    fields = {"cluster": "c", "namespace": "shop", "workload": workload}
    return [
        Write(
            target=Target("patterns", f"2026.11.{20 + n % 2}", f"{workload[:9]}-{n}"),
            fixed={**fields, "template": f"said {n}"},
            delta=None,
        )
        for n in range(count)
    ]


def test_every_workload_that_misses_vectors_is_on_some_page(subject: Subject) -> None:
    assert subject.index.without_vector().total == 0
    nameless = "w" * 600  # too long for a keyword: no name to go by
    writes = [*patterns("burst", 3 * PAGE_SAMPLE), *patterns(nameless, 1)]
    writes += [each for n in range(2 * PAGE_WORKLOADS) for each in patterns(f"quiet{n:02}", 2)]
    subject.index.ensure_days([write.target for write in writes])
    subject.index.bulk(writes)
    subject.refresh()
    found: dict[Target, str] = {}
    page = None
    while True:
        seen = subject.index.without_vector(page)
        assert seen.total == len(writes)
        assert PAGE_SAMPLE <= sum(map(len, seen.texts.values())) <= PAGE_SAMPLE + PAGE_WORKLOADS * PAGE_PATTERNS
        found |= {target: text for texts in seen.texts.values() for target, text in texts.items()}
        if (page := seen.following) is None:
            break
    assert all(write.fixed["template"] == found.get(write.target) for write in writes if is_quiet(write))
    subject.index.set_vectors({target: [1.0, 0.0, 0.0, 0.0] for target in found})
    subject.refresh()
    assert subject.index.without_vector().total == len(writes) - len(found)
    assert all("vector" in subject.read(write.target) for write in writes if is_quiet(write))


def is_quiet(write: Write) -> bool:
    return write.fixed["workload"] != "burst"
