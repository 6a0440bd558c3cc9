"""Which runbook sections help with an incident: by the names of its alerts, by their addresses, then by its words.

For whoever publishes incidents: blocking, bounded in time, and the same for the same runbooks. By words only: the model
that knows meanings takes seconds to load, and nothing that is told within a second waits for it.
"""

import time
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Final, Literal, Protocol, Self

import structlog

from cag.evidence import links_in
from cag.library import Library
from cag.store import RunbookStore
from cag.word_index import words
from schemas.context import Evidence, Grant, Plan, Scope, Span
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.insights import Insight, RunbookReference
from schemas.runbooks import HEADING_SEPARATOR, Corpus, Runbook, Section
from schemas.settings import Settings

MOST: Final = 3
LOOK_EVERY_S: Final = 5.0  # whether the runbooks have changed
AWAY_S: Final = 30.0  # after a failure Redis is not asked for so long: no revision waits for it twice in a row
TIMEOUT_S: Final = 0.5  # of one round trip; it is tried twice
# Words that a runbook must share with an incident that names none: one or two are shared by chance with most.
SHARED_WORDS: Final = 3
Why = Literal["alert", "url", "words"]

log = structlog.get_logger()


class Store(Protocol):
    """What is needed of `cag.store.RunbookStore`."""

    def corpus_version(self) -> str | None: ...

    def snapshot(self) -> Corpus | None: ...

    def close(self) -> None: ...


class Guides:
    """One per process. Each call takes a lock, so that any thread may make it."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._lock = Lock()
        self._library = Library.of(Corpus(version="", runbooks=()))
        self._sections: dict[str, tuple[Runbook, Section]] = {}
        self._look_at = float("-inf")
        self._trouble = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Nothing connects yet."""
        return cls(RunbookStore(settings.redis.model_copy(update={"timeout_s": TIMEOUT_S})))

    def attach(self, insight: Insight) -> Insight:
        """The incident with the sections that help most; with those of before while Redis is away, or with none.

        A reference that comes with an address for its path is looked up; one that no runbook has stays as it is.
        """
        with self._lock:
            self._follow()
            library, sections = self._library, self._sections
        if not sections:
            return insight
        found = tuple(_references(insight, library, sections))
        known = {url for url in _urls(insight) if library.corpus.at_url(url)}
        left = tuple(r for r in insight.runbooks if r.path not in known)
        return insight.model_copy(update={"runbooks": (*found, *left)[:MOST]})

    def close(self) -> None:
        self._store.close()

    def _follow(self) -> None:
        """Take over what Redis holds now. What goes wrong is said once, until it is well again."""
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        try:
            version = self._store.corpus_version()
            corpus = self._store.snapshot() if version not in (None, self._library.corpus.version) else None
        except (SinkUnavailable, SinkMisconfigured) as error:
            self._look_at = self._clock() + AWAY_S
            if not self._trouble:
                log.warning("incidents are told without new runbooks", reason=str(error))
            self._trouble = str(error)
            return
        if self._trouble:
            log.info("runbooks are followed again")
        self._trouble = ""
        if corpus is not None:
            self._library = Library.of(corpus, self._library)
            self._sections = {identity: (runbook, section) for identity, runbook, section in corpus.sections()}


def _references(
    insight: Insight, library: Library, sections: dict[str, tuple[Runbook, Section]]
) -> Iterator[RunbookReference]:
    alerts = {s.name for s in insight.symptoms if s.kind == "alert"}
    urls = _urls(insight)
    addressed = {runbook.path for url in urls if (runbook := library.corpus.at_url(url))}
    asked = frozenset(words(_text(insight)))
    for piece in library.find(_plan(insight), _telling(insight, urls), _scope(insight), None, MOST):
        runbook, section = sections[piece.id]
        why: Why = "words"
        if alerts & {*runbook.alerts, *section.alerts}:
            why = "alert"
        elif runbook.path in addressed:
            why = "url"
        elif piece.score <= 0 or len(asked.intersection(words(f"{runbook.title} {section.plain}"))) < SHARED_WORDS:
            continue
        heading = "" if section.heading == runbook.title else section.heading.replace(HEADING_SEPARATOR, ", ")
        yield RunbookReference(path=runbook.path, section=heading, evidence=piece.id, why=why)


def _plan(insight: Insight) -> Plan:
    return Plan(
        question=insight.title,
        span=Span(start=insight.started, end=max(insight.started, insight.updated)),
        search_text=_text(insight),
    )


def _telling(insight: Insight, urls: tuple[str, ...]) -> list[Evidence]:
    """The alerts that fire, and the addresses of runbooks that came with them, as evidence of an answer."""
    alerts = [s for s in insight.symptoms if s.kind == "alert"]
    named = [Evidence(id=s.evidence, kind="alert", text="", title=s.name) for s in alerts]
    return [*(Evidence(id=url, kind="alert", text="", url=url) for url in urls), *named]


def _text(insight: Insight) -> str:
    """What happened, without whom it happened to: names of pods are in no runbook."""
    said = (insight.title, *(f"{s.name} {s.text}" for s in insight.symptoms[:8]))
    return " ".join(said)


def _urls(insight: Insight) -> tuple[str, ...]:
    """Addresses of runbooks: where an alert says so, or its text."""
    told = [r.path for r in insight.runbooks if "://" in r.path]
    return tuple(
        dict.fromkeys([*told, *(url for s in insight.symptoms if s.kind == "alert" for url in links_in(s.text))])
    )


def _scope(insight: Insight) -> Scope:
    """Whoever reads of an incident may see its namespaces: a runbook for others only is none for it."""
    return Scope(grants=(Grant(clusters=(insight.cluster,), namespaces=insight.namespaces or ("",)),))
