"""Understanding a question, in code: which stretch of time, which things, which identifiers, which intent. Pure."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cag.moments import span_of
from schemas.context import Intent, Plan, Span, Turn
from schemas.records import IDENTIFIER

IDENTIFIERS: Final = 8
READ_CHARS, READ_TURNS = 20_000, 10  # of a question, of a conversation: reading a megabyte would take a second
SEARCHED_CHARS: Final = 1_000  # of a question: OpenSearch takes 1,024 clauses, and a word may make several
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)
# What Kubernetes puts behind the name of a workload: a hash and five of its safe letters, those five, or an ordinal.
_POD_SUFFIX: Final = re.compile(r"(?:[a-z0-9]{6,10}-)?[bcdfghjklmnpqrstvwxz2456789]{5}|\d{1,5}|\d{8}(?:-[a-z0-9]{5})?")


def _words(alternatives: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{alternatives})\b", re.IGNORECASE)


_INTENTS: Final[tuple[tuple[Intent, re.Pattern[str]], ...]] = (
    ("fix", _words(r"how (?:do|can|should) (?:i|we)|fix|resolve|mitigat\w*|runbook|what (?:do|should) i do")),
    ("change", _words(r"what (?:has )?changed|deploy(?:ed|ment)?s?|roll(?:ed )?out|rollouts?|new version")),
    ("health", _words(r"healthy|health|ok(?:ay)?|fine|is everything|any (?:problem|issue|error)s?")),
    ("show", _words(r"show|list|give me|which|how many|count")),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Names that exist in the index: only these are taken for entities."""

    clusters: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    workloads: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    alerts: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Found:
    namespaces: list[str] = field(default_factory=list)
    workloads: list[str] = field(default_factory=list)
    pods: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.namespaces or self.workloads or self.pods or self.nodes or self.alerts)


def plan(turns: Sequence[Turn], *, now: datetime, catalog: Catalog, default_window: timedelta, zone: ZoneInfo) -> Plan:
    """The plan of the last user turn. What it leaves out is carried over from the turns before it."""
    asked = [turn.content.encode(errors="replace").decode() for turn in turns if turn.role == "user"]
    question = asked[-1] if asked else ""
    read = [text[:READ_CHARS] for text in asked[: -READ_TURNS - 1 : -1]]  # the latest first
    spans = (span_of(text, now=now, zone=zone) for text in read)
    named = ((text, entities(text, catalog), _identifiers(text)) for text in read)
    about, found, identifiers = next((each for each in named if each[1] or each[2]), ("", _Found(), ()))
    end = now.astimezone(UTC)
    return Plan(
        question=question,
        span=next((span for span in spans if span), None) or Span(start=end - default_window, end=end),
        namespaces=tuple(found.namespaces),
        workloads=tuple(found.workloads),
        pods=tuple(found.pods),
        nodes=tuple(found.nodes),
        alerts=tuple(found.alerts),
        identifiers=identifiers,
        intent=next((intent for intent, words in _INTENTS if words.search(question[:READ_CHARS])), "diagnose"),
        zone=zone.key,
        search_text=" ".join(dict.fromkeys(filter(None, (*read[:1], about))))[:SEARCHED_CHARS],
    )


def entities(question: str, catalog: Catalog) -> _Found:
    """Names in the question that exist. A pod is recognised by its workload's name in front."""
    whole = list(dict.fromkeys(_NAME.findall(question)))
    words = list(dict.fromkeys([*whole, *(part for word in whole if "." in word for part in word.split(".")[:4])]))
    found = _Found()
    found.namespaces = _among(words, catalog.namespaces)
    found.nodes = _among(words, catalog.nodes, short=True)
    found.alerts = _among(words, catalog.alerts)
    found.workloads = [name for name in _among(words, catalog.workloads) if name not in found.nodes]
    known = {*catalog.workloads, *found.nodes, *found.namespaces}
    for word in (word.lower() for word in words if "-" in word):
        owner = _owner(word, catalog.workloads) if word not in known else None
        if owner is not None:
            found.pods.append(word)
            found.workloads.append(owner)
    found.workloads = list(dict.fromkeys(found.workloads))
    return found


def _owner(pod: str, workloads: Collection[str]) -> str | None:
    for parts in (1, 2):
        owner = pod.rsplit("-", parts)[0]
        suffix = pod[len(owner) + 1 :]
        if owner in workloads and (_POD_SUFFIX.fullmatch(suffix) or any(c.isdigit() for c in suffix)):
            return owner
    return None


def _identifiers(question: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(IDENTIFIER.findall(question)))[:IDENTIFIERS]


def _among(words: Iterable[str], known: frozenset[str], *, short: bool = False) -> list[str]:
    spelled = _spellings(known, short)
    return list(dict.fromkeys(spelled[word.lower()] for word in words if word.lower() in spelled))


@lru_cache(maxsize=64)
def _spellings(known: frozenset[str], short: bool) -> dict[str, str]:
    """How names may be written: in any case; `short`, without their domain."""
    shortened = {name.lower().split(".")[0]: name for name in sorted(known)} if short else {}
    return shortened | {name.lower(): name for name in sorted(known)}
