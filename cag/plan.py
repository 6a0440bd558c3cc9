"""Understanding a question, in code: which stretch of time, which things, which identifiers, which intent. Pure."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from schemas.context import Plan, Span, Turn

AROUND: Final = timedelta(minutes=10)  # "at 14:05" looks this far back, and half as far ahead
LONGEST: Final = timedelta(days=14)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LAST: Final = re.compile(
    r"\b(?:last|past|previous)\s+(?:(\d{1,4}|an?|few|couple(?: of)?)\s*)?"
    r"(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w)\b",
    re.IGNORECASE,
)
_AGO: Final = re.compile(
    r"\b(\d{1,4}|an?)\s*(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)\s+ago\b", re.IGNORECASE
)
_CLOCK: Final = (
    r"(\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?"
    r"|\d{1,2}:\d{2}(?::\d{2})?\s*(?:am|pm)?)"
)
_BETWEEN: Final = re.compile(rf"\b(?:between|from)\s+{_CLOCK}\s+(?:and|to|until|-)\s+{_CLOCK}", re.IGNORECASE)
_SINCE: Final = re.compile(rf"\b(?:since|after)\s+{_CLOCK}", re.IGNORECASE)
_AT: Final = re.compile(rf"\b(?:at|around|about|near)\s+{_CLOCK}", re.IGNORECASE)
_ISO: Final = re.compile(r"\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2})?(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?")
_IDENTIFIER: Final = re.compile(
    r"\b(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{16,64}|[A-Z]{1,6}-?\d{3,8})\b"
)
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.IGNORECASE)


def _words(alternatives: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{alternatives})\b", re.IGNORECASE)


Intent = Literal["diagnose", "fix", "show", "change", "health"]
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
    asked = [turn.content for turn in turns if turn.role == "user"]
    question = asked[-1] if asked else ""
    span = span_of(question, now=now, zone=zone)
    found = entities(question, catalog)
    for earlier in reversed(asked[:-1]):
        span = span or span_of(earlier, now=now, zone=zone)
        if not found:
            found = entities(earlier, catalog)
    return Plan(
        question=question,
        span=span or Span(start=now - default_window, end=now),
        namespaces=tuple(found.namespaces),
        workloads=tuple(found.workloads),
        pods=tuple(found.pods),
        nodes=tuple(found.nodes),
        alerts=tuple(found.alerts),
        identifiers=tuple(dict.fromkeys(_IDENTIFIER.findall(question)))[:8],
        intent=next((intent for intent, words in _INTENTS if words.search(question)), "diagnose"),
        search_text=question[:2_000],
    )


def span_of(question: str, *, now: datetime, zone: ZoneInfo) -> Span | None:
    """The stretch of time that a question names; None when it names none."""
    if found := _BETWEEN.search(question):
        start, end = (_moment(text, now, zone) for text in found.groups())
        if start and end:
            return _span(min(start, end), max(start, end), found.group(), now)
    if found := _SINCE.search(question):
        start = _moment(found.group(1), now, zone)
        if start:
            return _span(start, now, found.group(), now)
    if found := _AT.search(question) or _ISO.search(question):
        moment = _moment(found.group(1) if found.re is _AT else found.group(), now, zone)
        if moment:
            return _span(moment - AROUND, moment + AROUND / 2, found.group(), now)
    if found := _LAST.search(question):
        return _span(now - _length(found.group(1), found.group(2)), now, found.group(), now)
    if found := _AGO.search(question):
        moment = now - _length(found.group(1), found.group(2))
        return _span(moment - AROUND, moment + AROUND / 2, found.group(), now)
    local = now.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    for words, start, end in (
        ("yesterday", midnight - timedelta(days=1), midnight),
        ("last night", midnight - timedelta(hours=2), midnight + timedelta(hours=7)),
        ("this morning", midnight + timedelta(hours=5), midnight + timedelta(hours=12)),
        ("today", midnight, local),
    ):
        if re.search(rf"\b{words}\b", question, re.IGNORECASE):
            return _span(start, end, words, now)
    return None


def _span(start: datetime, end: datetime, said: str, now: datetime) -> Span:
    end = min(end, now)
    return Span(start=max(min(start, end), end - LONGEST), end=end, said=said)


def _length(number: str | None, unit: str) -> timedelta:
    few = {None: 1, "a": 1, "an": 1, "few": 5}
    text = number.lower() if number else None
    many = int(text) if text and text.isdigit() else few.get(text, 2)
    return min(timedelta(seconds=many * _UNITS[unit[0].lower()]), LONGEST)


def _moment(text: str, now: datetime, zone: ZoneInfo) -> datetime | None:
    """An ISO moment, or the latest such time of day that is not in the future; None when it is no time at all."""
    try:
        if re.match(r"\d{4}-", text):
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
            return moment if moment.tzinfo else moment.replace(tzinfo=zone)
        clock = re.match(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(am|pm)?", text, re.IGNORECASE)
        if clock is None:
            return None
        hour = int(clock[1])
        if clock[4]:
            hour = hour % 12 + (12 if clock[4].lower() == "pm" else 0)
        local = now.astimezone(zone).replace(hour=hour, minute=int(clock[2]), second=int(clock[3] or 0), microsecond=0)
    except ValueError:
        return None
    return local if local <= now else local - timedelta(days=1)


def entities(question: str, catalog: Catalog) -> _Found:
    """Names in the question that exist. A pod is recognised by its workload's name in front."""
    found = _Found()
    words = list(dict.fromkeys(_NAME.findall(question)))
    lowered = [word.lower() for word in words]
    found.namespaces = _among(lowered, catalog.namespaces)
    found.nodes = _among(lowered, catalog.nodes)
    found.alerts = _among(words, catalog.alerts)
    found.workloads = [name for name in _among(lowered, catalog.workloads) if name not in found.nodes]
    for word in lowered:
        owner = word.rsplit("-", 2)[0] if word.count("-") >= 2 else word.rsplit("-", 1)[0]
        is_pod = "-" in word and any(c.isdigit() for c in word) and word not in (*found.nodes, *found.namespaces)
        if is_pod and word not in catalog.workloads:
            for candidate in (owner, word.rsplit("-", 1)[0]):
                if candidate in catalog.workloads:
                    found.pods.append(word)
                    found.workloads.append(candidate)
                    break
    found.workloads = list(dict.fromkeys(found.workloads))
    return found


def _among(words: Iterable[str], known: Collection[str]) -> list[str]:
    by_lower = {name.lower(): name for name in known}
    return list(dict.fromkeys(by_lower[word.lower()] for word in words if word and word.lower() in by_lower))
