"""Understanding a question, in code: which stretch of time, which things, which identifiers, which intent. Pure.

What a question leaves out is taken from the turns before it. What the model wrote is read for one thing only: which pod
or workload "it" is, where no user has said so; and only names of the index count, which the asker may see.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cag.question.companions import KIN, kin, owner_of
from cag.question.incidents import Wanted, incidents_wanted
from cag.question.moments import ANCHOR, Times, times_of
from cag.question.naming import Found, names_in
from cag.question.procedure import ANYONE, any_of, is_procedure
from cag.question.quoted import identifiers_in
from cag.question.spelling import Catalog, index_of
from schemas.context import Intent, Plan, Span, Turn

__all__ = ["Catalog", "plan"]

READ_CHARS: Final = 10_000  # of a question: reading a megabyte would take seconds
READ_TURNS, EARLIER_CHARS = 10, 2_000  # of the conversation, of each turn before
SEARCHED_CHARS: Final = 1_000  # of a question: OpenSearch takes 1,024 clauses, and a word may make several
SHORT: Final = 4  # words; so short a question goes on with what was said


_SHOW_FIRST: Final = re.compile(
    r"\W{0,3}(?:(?:please|now|and|ok|can you|could you|can i|i want to|i'd like to)\s){0,3}"
    r"(?:show|list|give me|display|print|which|how (?:many|often|much)|count|get me|find|see|tail|what are the"
    r"|how (?:do|can) (?:i|we) (?:see|find|get|list|view))\b(?!.{0,40}\b(?:status|health) of\b)"
    r"(?!.{0,30}\b(?:why|causes|reasons)\b)",
    re.IGNORECASE,
)
_INTENTS: Final[tuple[tuple[Intent, re.Pattern[str]], ...]] = (
    ("fix", any_of(
        rf"how (?:do|can|should|could|would|to) (?:{ANYONE} )?(?!know|tell|see|find|check\b|long)\w+"
        rf"|(?:to|i|we|me|you) (?:fix|resolve|mitigate)|fix (?:it|this|that|them|for)|fix$|any fix"
        rf"|(?:what|which) (?:do|should|can|could|must) {ANYONE} do|what (?:to do|now)|runbooks?|next steps?"
        r"|steps (?:to|for)|mitigat\w{1,5}|remed\w{1,8}|workaround|procedure|how to|guide (?:to|for)|walk me through"
    )),
    ("why", any_of(
        r"why|(?:root )?causes?|caus(?:ed|ing)|reasons?|how come|what (?:made|makes|triggered|is behind)"
    )),
    ("change", any_of(
        r"what(?:'s|’s| has| have| is)? (?:\w{1,12} )?(?:been )?"
        r"(?:changed|changing|new|different|deployed|rolled out|scaled|released|upgraded)"
        r"|(?:any|recent|latest|last|any recent|what|which|the|config\w{0,8}) changes?"
        r"|who (?:changed|deployed|scaled|restarted)"
        r"|(?:was|were|is|has|did|anyone|anything|someone|when was|when did)\b"
        r".{0,60}\b(?:changed?|deployed|rolled out|scaled|upgraded|released|deploy|roll out)"
        r"|(?:recent|latest|last|any|which|what|new) (?:\w{1,20} )?"
        r"(?:deploy(?:ment)?s?|roll-?outs?|releases?|upgrades?|versions?)"
    )),
    ("health", any_of(
        r"healthy|unhealthy|health|status of|ok(?:ay)?|fine|alright|all (?:good|green|clear)|how (?:is|are|does|do)"
        r"|are there|is there|any (?:\w{1,12} )?(?:problems?|issues?|errors?|alerts?|warnings?|trouble|incidents?)"
        r"|(?:(?<![^\W_] )(?:is|are|was|were)|if|whether|and is|and are) (?:\S{1,63} ){1,5}?(?:up|down|alive|working"
        r"|running|stable|back|fixed|recovered|ready|available|reachable|normal|affected|broken|wrong|degraded|impacted"
        r"|failing|slow|over)"
    )),
    ("show", any_of(r"show|list|give me|which|how many|count|display|print|find|search for|more(?=\W?$)")),
)  # fmt: skip
_WRONG: Final = any_of(
    r"what(?:'s|’s| is| was| went) (?:\w{1,12} )?(?:wrong|broken|failing|happening|going on|up with)"
    r"|what (?:broke|happened|failed)"
)

_CHANGES: Final = any_of(r"changes|deploys|rollouts|releases|upgrades")
_BLAME: Final = any_of(
    r"(?:which|what) (?:\w{1,20} ){1,2}(?:is|are|was|were)"
    r" (?:at fault|to blame|responsible|the (?:culprit|problem)|holding)"
)

# What a follow-up begins with, or points back with.
_GOES_ON: Final = re.compile(
    r"\W{0,3}(?:and|but|or|so|also|then|ok|okay|what about|how about|same|what else|again|more|anything else)\b",
    re.IGNORECASE,
)
_AND_ON: Final = re.compile(r"\W{0,3}(?:and|but|what about|how about|same)\s{1,3}(?:on|in)\b", re.IGNORECASE)
_POINTS: Final = any_of(
    r"it|its|they|them|their|theirs|that|this|these|those|there|the (?:same|others?|first|second|former|latter)|same"
    r"|then|one|ones"
)
_THINGS: Final = r"(?:services|workloads|namespaces|nodes|clusters|deployments|systems)"
_ABOUT_ALL: Final = any_of(
    r"everything|anything|everywhere|overall|in general|whole (?:cluster|system|platform)|cluster[- ]wide"
    rf"|any other \w{{1,20}}|other {_THINGS}|all (?:the )?(?:alerts|{_THINGS})|(?:which|what|any) (?:other )?{_THINGS}"
)
_BESIDE_THAT: Final = re.compile(
    r"\b(?:(?:the )?(?P<unit>hour|day|week) )?(?P<side>before|after)(?: that\b| it\b|(?=\W{0,3}$))", re.IGNORECASE
)
_AND_THE_KIN: Final = re.compile(  # "and the database?", "is the db ok?"
    r"\W{0,3}(?:(?:and|but|or|so|then|also|ok|what|how|about|is|are|was|check|now)\s{1,3}){0,4}(?:the\s{1,3})?"
    rf"(?P<kin>{'|'.join(KIN)})(?:\s\w{{1,20}})?\W{{0,3}}$",
    re.IGNORECASE,
)
_OTHER_ONE: Final = any_of(r"(?:the )?other (?:one|service|workload|pod|node|app)|the other")
_THAT_THING: Final = any_of(
    r"(?:that|this|the same|the) (?P<kind>pod|container|node|host|machine|service|workload|deployment|app)"
    r"|(?P<it>it|its|they|them|that one|this one)"
)
_KINDS: Final = {"pod": "pods", "container": "pods", "node": "nodes", "host": "nodes", "machine": "nodes"}
_COUNTED: Final = re.compile(r"(?<![\w.-])([1-5]\d\d)s\b")  # "503s" is found as 503


class _Asked(NamedTuple):
    """One turn of the user's, read."""

    text: str
    found: Found
    identifiers: tuple[str, ...]
    lead: str = ""  # what is searched for before anything else

    @property
    def names(self) -> bool:
        return bool(self.found or self.identifiers)


def plan(turns: Sequence[Turn], *, now: datetime, catalog: Catalog, default_window: timedelta, zone: ZoneInfo) -> Plan:
    """The plan of the last user turn. What it leaves out is carried over from the turns before it."""
    texts = [t.content.encode(errors="replace").decode() for t in turns if t.role == "user"]
    question = texts[-1] if texts else ""
    said = [question[:READ_CHARS], *(text[:EARLIER_CHARS] for text in texts[-2 : -READ_TURNS - 1 : -1])]  # latest first
    asked = [_read(text, catalog) for text in said]
    times = [times_of(said[0], now=now, zone=zone, default=default_window)]
    intent = _intent(said[0], times[0])
    goes_on = len(said) > 1 and _GOES_ON.match(said[0])
    procedure = not goes_on and is_procedure(said[0], asked[0].found.alerts, follows=len(said) > 1)
    subject = asked[0] if procedure else _subject(asked, turns, catalog)
    if not procedure:
        times += (times_of(text, now=now, zone=zone, default=default_window) for text in said[1:])
    end = now.astimezone(UTC)
    named, anchored = _carried(list(zip(said, times, strict=False)), end)
    span = named or Span(start=end - default_window, end=end)
    follows = len(said) > 1 and not procedure and (subject is not asked[0] or _goes_on(said[0]))
    runbook = procedure and not subject.found.running and not subject.identifiers and times[0].span is None
    found = subject.found
    return Plan(
        question=question,
        span=span,
        clusters=tuple(found.clusters),
        namespaces=tuple(found.namespaces),
        workloads=tuple(found.workloads),
        pods=tuple(found.pods),
        nodes=tuple(found.nodes),
        alerts=tuple(found.alerts),
        metrics=tuple(found.metrics),
        identifiers=subject.identifiers,
        intent=intent or _inherited(said[1:], now, zone, default_window, follows),
        about="runbook" if runbook else "live",
        compared=times[0].compared(span, end),
        incidents="" if runbook else _incidents(said, times, intent, follows),
        anchor="change" if anchored else "",
        zone=zone.key,
        search_text=_searched(subject.lead, said[0], subject.text),
    )


def _carried(turns: Sequence[tuple[str, Times]], now: datetime) -> tuple[Span | None, bool]:
    """The time that was named last, moved where a turn asks for what was before or after it; the latest turn first."""
    span: Span | None = None
    anchored = False
    for text, times in reversed(turns):
        beside = _BESIDE_THAT.search(text)
        if times.span is not None:
            span, anchored = times.span, times.anchor
        elif beside is not None and span is not None:
            hours = {"hour": 1, "day": 24, "week": 168}.get((beside["unit"] or "").lower())
            length = timedelta(hours=hours) if hours else max(span.end - span.start, timedelta(minutes=1))
            if beside["side"].lower() == "before":
                span = Span(start=span.start - length, end=span.start, said=beside.group())
            elif span.end < now:
                span = Span(start=span.end, end=min(span.end + length, now), said=beside.group())
    return span, anchored


def _read(text: str, catalog: Catalog) -> _Asked:
    return _Asked(text, names_in(text, catalog), identifiers_in(text))


def _intent(text: str, times: Times) -> Intent | None:
    """What is wanted; None where nothing says so."""
    if times.compares:
        return "compare"
    text = ANCHOR.sub(" ", text)
    if _BLAME.search(text):
        return "diagnose"
    if _SHOW_FIRST.match(text):
        return "change" if _CHANGES.search(text) else "show"
    found = next((intent for intent, words in _INTENTS if words.search(text)), None)
    return "diagnose" if _WRONG.search(text) and found in (None, "change", "health", "show") else found


def _inherited(earlier: Sequence[str], now: datetime, zone: ZoneInfo, default: timedelta, follows: bool) -> Intent:
    """ "And payments?" wants what was wanted before."""
    if not follows:
        return "diagnose"
    intents = (_intent(text, times_of(text, now=now, zone=zone, default=default)) for text in earlier)
    return next((intent for intent in intents if intent and intent != "compare"), "diagnose")


def _incidents(said: Sequence[str], times: Sequence[Times], intent: Intent | None, follows: bool) -> Wanted:
    """Of which state. "And payments?" asks for what was asked for before."""
    wanted = incidents_wanted(said[0], intent, timed=times[0].span is not None)
    if wanted or intent or not follows or len(times) < 2:
        return wanted
    return incidents_wanted(said[1], _intent(said[1], times[1]), timed=times[1].span is not None)


def _subject(asked: Sequence[_Asked], turns: Sequence[Turn], catalog: Catalog) -> _Asked:
    """What is asked about: what this question names, and of the turns before it what it leaves out."""
    latest, earlier = asked[0], _with_companions(asked[1:], catalog)
    before = next((each for each in earlier if each.names), None)
    if _OTHER_ONE.search(latest.text) and not latest.found.things and before is not None:
        return _other_one(latest, earlier) or before._replace(text=before.text)
    if not latest.names:
        if before is None or _THAT_THING.search(latest.text):
            seen = _seen(latest, before, turns, catalog)
            if seen is not None:
                return _of_its_kin(latest, seen, catalog)
        if before is None or (_ABOUT_ALL.search(latest.text) and not _POINTS.search(latest.text)):
            return latest
        return _of_its_kin(latest, before, catalog)
    found = latest.found
    things = found.workloads or found.pods or found.metrics or (found.nodes and not _AND_ON.match(latest.text))
    only_place = found.running and not (things or found.alerts or latest.identifiers)
    if only_place and before is not None and _goes_on(latest.text):
        before = _of_its_kin(latest, before, catalog)
        old = before.found
        clusters, nodes = found.clusters or old.clusters, found.nodes or ([] if found.clusters else old.nodes)
        keeps = replace(old, clusters=clusters, namespaces=found.namespaces or old.namespaces, nodes=nodes, pods=[])
        return before._replace(found=keeps)
    return latest


def _goes_on(text: str) -> bool:
    return bool(_GOES_ON.match(text) or len(text.split()) <= SHORT or _POINTS.search(text))


def _with_companions(earlier: Sequence[_Asked], catalog: Catalog) -> list[_Asked]:
    """The turns before, the latest first; one that asked for "its database" names what that is."""
    read: list[_Asked] = []
    for each in reversed(earlier):
        before = next((one for one in reversed(read) if one.names), None)
        read.append(_of_its_kin(each, before, catalog) if before and _kin_asked(each) and not each.names else each)
    return read[::-1]


def _kin_asked(asked: _Asked) -> list[str]:
    """ "Database" in "its database" and in "and the database?"."""
    alone = _AND_THE_KIN.match(asked.text)
    return asked.found.kin or ([alone["kin"].lower()] if alone else [])


def _of_its_kin(latest: _Asked, before: _Asked, catalog: Catalog) -> _Asked:
    """ "And its database?": the workload that is called after what was asked about; where there is none, that still."""
    index, found, words = index_of(catalog), before.found, _kin_asked(latest)
    if not words or not found.workloads:
        return before
    others = list(dict.fromkeys(name for word in words for name in kin(found.workloads, word, index)))
    if others:
        found = replace(found, workloads=others, pods=[], nodes=[])
    return before._replace(found=found, lead=" ".join([*words, *found.workloads]))


def _other_one(latest: _Asked, earlier: Sequence[_Asked]) -> _Asked | None:
    """Of two things that were named the one that was not asked about last."""
    named = [each for each in earlier if each.found.workloads or each.found.nodes]
    if not named:
        return None
    now = [*named[0].found.workloads, *named[0].found.nodes]
    for each in named:
        workloads = [name for name in each.found.workloads if name not in now]
        nodes = [name for name in each.found.nodes if name not in now]
        if workloads or nodes:
            return _Asked(latest.text, replace(each.found, workloads=workloads[:1], nodes=nodes[:1], pods=[]), ())
    if len(now) == 2:  # both in one breath: the second
        kept = {kind: [n for n in getattr(named[0].found, kind) if n == now[1]] for kind in ("workloads", "nodes")}
        return _Asked(latest.text, replace(named[0].found, pods=[], **kept), ())
    return None


def _seen(latest: _Asked, before: _Asked | None, turns: Sequence[Turn], catalog: Catalog) -> _Asked | None:
    """What "it" or "that pod" is by the answer before: the one thing of that kind in it, none that a user contradicts.

    An answer is the model's text, and what it quotes is hostile: it only helps to choose among names of the index.
    """
    pointed = _THAT_THING.search(latest.text)
    answers = [turn.content for turn in turns if turn.role == "assistant"]
    if pointed is None or not answers:
        return None
    kind = _KINDS.get((pointed["kind"] or "").lower(), "workloads")
    old = before.found if before is not None else Found()
    if old.things if kind == "workloads" else getattr(old, kind):
        return None
    text = answers[-1][:EARLIER_CHARS].encode(errors="replace").decode()
    index = index_of(catalog)
    names = [
        name
        for name in getattr(names_in(text, catalog, exact=True), kind)
        if kind != "pods" or not old.workloads or owner_of(name, index) in old.workloads
    ]
    if len(names) != 1:
        return None
    found = replace(old, **{kind: names})
    if kind == "pods" and not old.workloads and (owner := owner_of(names[0], index)):
        found = replace(found, workloads=[owner])
    return _Asked(f"{latest.text} {names[0]}", found, before.identifiers if before else ())


def _searched(lead: str, question: str, about: str) -> str:
    codes = " ".join(dict.fromkeys(_COUNTED.findall(question)))
    return " ".join(dict.fromkeys(filter(None, (lead, question, codes, about))))[:SEARCHED_CHARS]
