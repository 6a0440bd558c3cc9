"""Which stretch of time a question names, and which other one it is compared with. Pure; linear in the text.

Times of day are read in the zone of the asker unless the question names another, and mean the latest such time that is
not in the future, unless a day is named with them. What comes out is in UTC, so that no clock change bends a length.
What is still to come is not read.

A question about a past moment is answered from what was known up to it ("at 14:05", "14:05", "20 minutes ago"). Both
sides are looked at where the moment is rough ("around 14:05", "a few minutes ago", "two days ago"), or is the time of a
pasted line: to the second, at the beginning of the line or behind what no sentence has there (`[`, `ts=`). A statement
that something began then ("it started failing at 14:05") is about what followed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from cag.question.clock_words import LONGEST, Clock, Piece
from cag.question.stretches import AROUND, BEFORE, DAY, DAYS, NOW, RANGE, Named, joined, meant, moment_of
from schemas.context import Span

# How a comparison is said, straight in front of the other period; the last three only after "compare" or "differ".
_VERSUS: Final = re.compile(
    r"\b(?:compar\w{1,5}\s(?:(?:it|this|that)\s)?(?:to|with|against)|vs\.?|versus|against|than|relative to"
    r"|differ(?:s|ed|ent) from"
    r"|(?P<weak>with|to|from|and))\s{1,3}",
    re.IGNORECASE,
)
_LEAD: Final = re.compile(
    r"(?:(?:the|those|what|how|it|was|were|they|of|at|in|on|same|time|hour|day|during|period|from)\s{1,3}){0,6}",
    re.IGNORECASE,
)
_COMPARES: Final = re.compile(
    r"\b(?:compar(?:e|ed|ing|ison)|versus|vs|differ(?:s|ent|ence)?"
    r"|(?:slower|faster|worse|better|busier|noisier|healthier|(?:more|less|fewer) [a-z]{2,20}) than(?! \d))\b",
    re.IGNORECASE,
)
_PRECEDING: Final = re.compile(r"(?:the\s)?(?:\w{1,12}\s)?before(?:\s(?:that|it))?\b(?!\s\w)", re.IGNORECASE)
_USUAL: Final = re.compile(r"(?:usual(?:ly)?|normal(?:ly)?)\b", re.IGNORECASE)
_BOTH_SIDES: Final = re.compile(r"\bbefore\s(?:and|vs\.?|versus|or|to)\safter\b", re.IGNORECASE)

_CHANGE: Final = (
    r"(?:(?:re-?)?deploy(?:ing|ed|s)?|deployment(?!\s(?:is|has|pods?|controller|named)\b)|roll-?out"
    r"|roll(?:ed|ing)? out|releas(?:e|ed|ing)|upgrad(?:e|ed|ing)|updat(?:e|ed|ing)|rollback|rolled back"
    r"|scal(?:ing|ed)(?: (?:up|down|out|in))?|scale[- ](?:up|down|out)|new version|version bump"
    r"|config(?:uration)? change|change)\b"
)
ANCHOR: Final = re.compile(
    r"\b(?:since|around|after|before|during|following|caused by|because of|at the time of|post)[\s-]{1,2}"
    r"(?:(?:(?:the|our|its|their|this|that|last|latest|recent|most|new|newest|a)\s){0,4}(?:[\w.-]{1,63}(?:['’]s)?\s)?"
    rf"{_CHANGE}|(?:we|they|i|it|you|someone)\s(?:was\s|were\s|last\s)?{_CHANGE}"
    r"|(?:version\s)?(?:v\d{1,4}(?:\.\d{1,4}){0,2}|\d{1,4}\.\d{1,4}\.\d{1,6})(?![\w:]|\.\d))",
    re.IGNORECASE,
)


class Other(NamedTuple):
    """The period that something is compared with: a stretch of its own, or the same one so much earlier."""

    said: str
    span: Span | None = None
    day: date | None = None
    earlier: timedelta | None = None  # none of these: the stretch just before


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What a question says about time."""

    span: Span | None = None
    anchor: bool = False  # the range is around a change, whose time is not said
    compares: bool = False
    zone: tzinfo = UTC
    other: Other | None = None

    def compared(self, base: Span, now: datetime) -> Span | None:
        """The other period; just as long as `base` unless it says itself how long, since only then counts compare."""
        if self.other is None or self.other.span is not None:
            return self.other.span if self.other else None
        said, earlier = self.other.said, self.other.earlier
        if self.other.day is not None:
            back = base.start.astimezone(self.zone).date() - self.other.day
            start, end = (_earlier(moment, back, self.zone) for moment in (base.start, base.end))
            end = min(end, now)  # the other day may be the later one
            return Span(start=start, end=end, said=said) if start < end else None
        earlier = earlier or base.end - base.start
        return Span(start=base.start - earlier, end=base.end - earlier, said=said)


def times_of(question: str, *, now: datetime, zone: tzinfo, default: timedelta) -> Times:
    """The times of a question. `default` is how far back "now" looks, and "since the deploy" until that is found."""
    clock = Clock(now.astimezone(UTC), zone)
    said = joined(question, clock)
    named_zone = next((piece.zone for piece in said if piece.kind == "zone" and piece.zone), None)
    if named_zone is not None:
        clock = clock._replace(zone=named_zone)
        said = joined(question, clock)
    if (around := _both_sides(question, said, clock)) is not None:
        return around
    begins, other = _other(question, said, clock, default)
    found = meant([piece for piece in said if piece.end <= begins], question, clock, default)
    both = _BOTH_SIDES.search(question)
    times = Times(
        compares=bool(other or both or _COMPARES.search(question)),
        zone=clock.zone,
        other=other or (Other(both.group()) if both else None),
    )
    anchor = ANCHOR.search(question)
    if anchor is not None and (found is None or found.rank >= NOW):
        span = Span(start=clock.now - default, end=clock.now, said=anchor.group())
        return replace(times, anchor=True, span=span)
    if anchor is not None and found and found.first.clock:  # since the deploy at 14:00
        at, side = moment_of(found.first, clock), anchor.group().lower()
        if at and side.startswith(("since", "after", "following", "caused", "because", "post")):
            found = found._replace(start=at, end=clock.now)
        elif at and side.startswith(("around", "during")):
            found = found._replace(start=at - AROUND, end=min(at + AROUND / 2, clock.now))
    if other and other.day and found and found.rank == DAYS and found.first.day and found.first.day < other.day:
        ends = clock.midnight(other.day), min(clock.midnight(other.day + DAY), clock.now)
        span = Span(start=min(ends), end=ends[1], said=other.said)
        return replace(times, span=span, other=Other(question[slice(*found.said)], day=found.first.day))
    return replace(times, span=_span(found, question)) if found else times


def _both_sides(question: str, said: Sequence[Piece], clock: Clock) -> Times | None:
    """ "Before and after 14:00": as much on either side."""
    found = _BOTH_SIDES.search(question)
    middle = next((p for p in said if found and p.clock and found.end() <= p.start <= found.end() + 12), None)
    moment = moment_of(middle, clock) if middle else None
    if found is None or middle is None or moment is None or moment >= clock.now:
        return None
    text = question[found.start() : middle.end]
    span = Span(start=moment, end=min(moment + BEFORE, clock.now), said=text)
    return Times(span=span, compares=True, zone=clock.zone, other=Other(text))


def _other(
    question: str, said: Sequence[Piece], clock: Clock, default: timedelta
) -> tuple[int, Other | None]:  # and where it begins
    starts = {piece.start: number for number, piece in enumerate(said)}
    told = _COMPARES.search(question)
    cues = [c for c in _VERSUS.finditer(question) if not c["weak"] or (told and told.start() < c.start())]
    strength = {"with": 1, "to": 2, "from": 2, "and": 3}
    for cue in sorted(cues, key=lambda c: strength.get((c["weak"] or "").lower(), 0)):
        at = cue.end()
        lead = _LEAD.match(question, at)
        after = lead.end() if lead else at
        if (usual := _USUAL.match(question, after)) is not None:
            return cue.start(), Other(question[at : usual.end()], earlier=DAY)
        if (preceding := _PRECEDING.match(question, at)) is not None:
            return cue.start(), Other(preceding.group())
        number = next((starts[place] for place in range(at, after + 1) if place in starts), None)
        if (
            number is None
            or said[number].kind in ("now", "hour", "zone", "never")
            or (cue["weak"] and not cue["weak"].startswith("w") and not number)
        ):
            continue
        found = meant(said[number : number + 2], question, clock, default)
        if found is None or found.first.start != said[number].start:
            found = meant(said[number : number + 1], question, clock, default)
        if found is not None:
            return cue.start(), _as_other(found, question[at : found.said[1]], question)
    return len(question), None


def _as_other(found: Named, said: str, question: str) -> Other:
    first = found.first
    word = question[first.start : first.end].lower()
    if found.rank == RANGE or first.clock:
        return Other(said, span=_span(found, question))
    if first.kind == "back" and ("previous" in word or "preceding" in word):
        return Other(said)
    if first.kind == "ago":
        return Other(said, earlier=first.length)
    if word.endswith("week"):
        return Other(said, earlier=7 * DAY)
    if first.day is not None and first.hours is None:
        return Other(said, day=first.day)
    return Other(said, span=_span(found, question))


def _span(found: Named, text: str) -> Span:
    return Span(start=max(found.start, found.end - LONGEST), end=found.end, said=text[slice(*found.said)].strip())


def _earlier(moment: datetime, back: timedelta, zone: tzinfo) -> datetime:
    """So many days earlier, at the same time by the clock."""
    local = moment.astimezone(zone)
    return datetime.combine(local.date() - back, local.timetz()).astimezone(UTC)
