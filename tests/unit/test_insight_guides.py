"""Incidents get the runbook sections that their alerts name, else those that their words mean, and never wait long."""

import pytest

from cag.insight_guides import AWAY_S, LOOK_EVERY_S, Guides
from schemas.errors import SinkUnavailable
from schemas.insights import Insight, RunbookReference
from schemas.runbooks import Corpus
from tests.unit.insight_cases import insight, symptom
from tests.unit.test_library import CRASH, DISK, LATENCY, SECRET, library


class Shelf:
    """A store with a version, which may be away."""

    def __init__(self, corpus: Corpus | None) -> None:
        self.corpus, self.calls, self.away = corpus, 0, False

    def corpus_version(self) -> str | None:
        self.calls += 1
        if self.away:
            raise SinkUnavailable("Redis at here does not answer")
        return self.corpus.version if self.corpus else None

    def snapshot(self) -> Corpus | None:
        return self.corpus

    def close(self) -> None:
        pass


CORPUS = library(KubePodCrashLooping=CRASH, disk=DISK, latency=LATENCY, secret=SECRET).corpus


def found(told: Insight, corpus: Corpus | None = CORPUS) -> list[tuple[str, str, str]]:
    return [(r.path, r.section, r.why) for r in Guides(Shelf(corpus)).attach(told).runbooks]


FULL_DISK = symptom(
    kind="event", name="Evicted", text="The kubelet evicts pods, NodeDiskPressure, images are collected"
)
LOOPING = symptom(kind="alert", name="KubePodCrashLooping", text="a pod restarts again and again")
AT_URL = RunbookReference(path="https://r.example/disk.md", why="url")
ELSEWHERE = RunbookReference(path="https://wiki.example/checkout", why="url")


@pytest.mark.parametrize(
    ("told", "first"),
    [
        (insight(symptoms=(LOOPING,)), ("KubePodCrashLooping.md", "Diagnosis", "alert")),
        (insight(symptoms=(FULL_DISK,)), ("disk.md", "Symptoms", "words")),
        (insight(runbooks=(AT_URL,)), ("disk.md", "Fix", "url")),
    ],
)
def test_the_best_section_and_why(told: Insight, first: tuple[str, str, str]) -> None:
    assert first in found(told)[:2]
    assert len(found(told)) <= 3


def test_nothing_is_made_up() -> None:
    odd = symptom(kind="pattern-new", name="zebra", text="zebras graze quietly")
    assert found(insight(title="Zebras", symptoms=(odd,))) == []
    assert ("https://wiki.example/checkout", "", "url") in found(insight(title="Zebras", runbooks=(ELSEWHERE,)))


def test_a_restricted_runbook_is_for_incidents_of_its_namespaces() -> None:
    pay = library(secret=SECRET).corpus
    assert found(insight(namespaces=("pay",), symptoms=(LOOPING,)), pay) == [("secret.md", "Diagnosis", "alert")]
    assert found(insight(symptoms=(LOOPING,)), pay) == []
    assert found(insight(namespaces=(), symptoms=(LOOPING,)), pay) == []


def test_without_runbooks_nothing_changes() -> None:
    told = insight(symptoms=(LOOPING,))
    assert Guides(Shelf(None)).attach(told) is told


def test_the_store_is_followed_and_may_be_away() -> None:
    now = [0.0]
    shelf = Shelf(None)
    guides = Guides(shelf, clock=lambda: now[0])
    told = insight(symptoms=(LOOPING,))
    assert guides.attach(told) is told
    shelf.corpus = CORPUS
    assert guides.attach(told) is told, "it looks every few seconds"
    now[0] += LOOK_EVERY_S
    held = guides.attach(told)
    assert held.runbooks
    shelf.away = True
    now[0] += LOOK_EVERY_S
    before = shelf.calls
    assert [guides.attach(told) for _ in range(100)] == [held] * 100
    assert shelf.calls == before + 1, "a store that is away is asked once"
    now[0] += AWAY_S
    shelf.away = False
    assert guides.attach(told) == held
