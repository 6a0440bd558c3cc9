"""From words for time to the stretch that they mean: since 14:05, between nine and ten, yesterday evening. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

from cag.question.clock_words import Clock, Piece, pieces

UP_TO: Final = timedelta(minutes=15)  # "at 14:05" looks this far back, and not ahead: it is answered as it was then
AROUND: Final = timedelta(minutes=10)  # "around 14:05" looks this far back, and half as far ahead
BEFORE: Final = timedelta(minutes=30)  # "before 14:05" looks this far back
TOGETHER: Final = timedelta(hours=6)  # times in pasted lines that lie no further apart are one stretch
DAY: Final = timedelta(days=1)

_SOFT: Final = re.compile(r"[\s,(]{0,3}(?:(?:at|on|in|the|of|around|about|roughly|@|-)[\s,]{1,2}){0,3}|T", re.I)
_RELATION: Final = re.compile(
    r"(?:\b(since|after|following|starting(?:\sat|\sfrom)?|from|before|until|till|prior to|up to|between|at"
    r"|around|about|near|roughly|approximately|circa|some)\s{1,3}|(~)\s?)"
    r"(?:(?:about|around|roughly|on|the|early|late)\s|~){0,2}$",
    re.IGNORECASE,
)
# Said with these, a moment has two sides. In "what about 14:05?" it has one.
_NEARLY: Final = re.compile(
    r"\b(?:around|near|roughly|approximately|circa|few|couple|several|some|(?:a|an) (?:second|minute|moment|while)"
    r"|while|moments?)\b|~|(?<!what )(?<!how )\babout\b",
    re.IGNORECASE,
)
_OR_SO: Final = re.compile(r"\s{0,2}-?ish\b|\sor so\b", re.IGNORECASE)
# A statement that it began then is about what followed: "it started failing 20 minutes ago".
_BEGAN: Final = re.compile(
    r"(?<!\bwhat )(?<!\bwho )(?<!\bwhich )\b(?:began|begun|started|starting)\b(?:\s[a-z]{1,20}){0,3}\s{1,2}$",
    re.IGNORECASE,
)
# In front of the time of a pasted line: nothing, or what no sentence has there (`[`, `ts=`, `checkout-1  |`).
_LINE_BEGINS: Final = re.compile(r"(?:^|[^\w\s,.;?!])\s{0,4}$", re.MULTILINE)
_TO: Final = re.compile(
    r"\s{0,3}(?:\b(?:and|to|until|till|through)\b|[-\u2013\u2014])\s{0,3}(?:(?:about|the)\s)?", re.I
)
_OPEN, _CLOSED = ("since", "after", "following", "starting", "from"), ("before", "until", "till", "prior to", "up to")
_AT: Final = re.compile(r"\b(?:at|since|around|about|after|before|until|by)\s$", re.IGNORECASE)
# "between 9 and 10" are hours only where no unit or thing follows.
_HOURS_END: Final = re.compile(
    r"\s{0,2}(?:$|[?.!,;)]|(?:on|yesterday|today|this|last|in the|at night)\b)", re.IGNORECASE
)
_AGAIN: Final = re.compile(r"\b(?:been|is|are|was|keeps?|failing|down|slow|pending|stuck|broken)\b", re.IGNORECASE)

# Of several expressions the one with the least rank is meant.
RANGE, CLOCK, BACK, BARE, DAYS, NOW, BEEN = range(7)


class Named(NamedTuple):
    """One stretch that is named."""

    rank: int
    start: datetime
    end: datetime
    said: tuple[int, int]
    first: Piece


def meant(said: Sequence[Piece], text: str, clock: Clock, default: timedelta) -> Named | None:
    found = list(_each(_with_days(said), text, clock, default))
    best = min(found, key=lambda each: (each.rank, each.said), default=None)
    if best is None or best.rank != BARE:
        return best
    bare = [each for each in found if each.rank == BARE]
    start, end = min(each.start for each in bare), max(each.end for each in bare)
    return best._replace(start=start, end=end) if end - start <= TOGETHER else best


def joined(text: str, clock: Clock) -> list[Piece]:
    """The pieces, those about the same moment put together: yesterday, at, 14:05, CET."""
    joined: list[Piece] = []
    for piece in pieces(text, clock):
        last = joined[-1] if joined else None
        gap = text[last.end : piece.start] if last else ""
        both = _both(last, piece, text) if last and len(gap) <= 24 and _SOFT.fullmatch(gap) else None
        if both is not None:
            joined[-1] = both
        else:
            joined.append(piece)
    return joined


def _both(one: Piece, two: Piece, text: str) -> Piece | None:
    """One piece of two neighbours, if each says what the other does not."""
    whole = replace(one, end=two.end)
    kinds = {one.kind, two.kind}
    if "never" in kinds and kinds & {"time", "part", "hour"}:
        return replace(whole, kind="never")
    if two.kind == "zone" and one.clock and one.zone is None and one.kind != "hour":
        return replace(whole, zone=two.zone)
    days, clocks = (one.day is not None, two.day is not None), (one.of_day is not None, two.of_day is not None)
    if kinds & {"zone", "now", "never", "moment", "back", "been", "stretch"} or all(days) or all(clocks):
        return None
    if "hour" in kinds and "part" not in kinds:
        hour = one if one.kind == "hour" else two
        if not _AT.search(text[max(0, hour.start - 8) : hour.start]):
            return None
    if not any(clocks) and not (any(days) and "part" in kinds):
        return None
    return replace(
        whole,
        kind="time" if any(clocks) else "part",
        day=one.day or two.day,
        of_day=one.of_day if clocks[0] else two.of_day,
        loose=one.loose or two.loose,
        hours=one.hours or two.hours,
        zone=one.zone or two.zone,
    )


def _with_days(said: Sequence[Piece]) -> list[Piece]:
    """A day that is named by itself is that of the times which have none."""
    by_itself = next((p for p in said if p.day is not None and not p.clock), None)
    if by_itself is None:
        return list(said)
    day, hours = by_itself.day, by_itself.hours
    return [replace(p, day=day, hours=p.hours or hours) if p.of_day and p.day is None else p for p in said]


def _each(said: Sequence[Piece], text: str, clock: Clock, default: timedelta) -> Iterator[Named]:
    skip = False
    for number, piece in enumerate(said):
        if skip:
            skip = False
            continue
        lead = _RELATION.search(text[max(0, piece.start - 32) : piece.start])
        relation = (lead[1] or lead[2]).lower() if lead else ""
        said_from = piece.start - (len(lead.group()) if lead else 0)
        after = said[number + 1] if number + 1 < len(said) else None
        ends = _range(piece, after, relation, text, clock) if after and after.start - piece.end <= 16 else None
        if after is not None and ends is not None:
            skip = True
            yield from _limited(Named(RANGE, *ends, (said_from, after.end), piece), clock)
            continue
        ends = _alone(piece, relation, said_from, text, clock, default)
        if ends is not None:
            yield from _limited(Named(_rank(piece, relation), *ends, (said_from, piece.end), piece), clock)


def _limited(found: Named, clock: Clock) -> Iterator[Named]:
    """Nothing that is still to come."""
    if found.start < clock.now:
        yield found._replace(end=max(found.start, min(found.end, clock.now)))


def _rank(piece: Piece, relation: str) -> int:
    if piece.clock:
        return CLOCK if relation else BARE
    return {"back": BACK, "ago": BACK, "now": NOW, "been": BEEN}.get(piece.kind, DAYS)


def _range(one: Piece, two: Piece, relation: str, text: str, clock: Clock) -> tuple[datetime, datetime] | None:
    to = text[one.end : two.start]
    if not _TO.fullmatch(to) or "never" in (one.kind, two.kind):
        return None
    framed = relation in ("between", "from")
    if two.kind == "hour" and not (one.kind == "hour" and framed and _HOURS_END.match(text, two.end)):
        return None
    if one.kind == "hour":
        if two.of_day is None or not (framed or (two.kind == "time" and not two.loose and to.strip() in "-\u2013")):
            return None
        afternoon = one.of_day is not None and two.of_day.hour >= 12 and one.of_day.hour + 12 < two.of_day.hour
        one = replace(one, of_day=time(one.of_day.hour + 12)) if afternoon and one.of_day else one
        one = replace(one, hours=one.hours or two.hours)
    if one.day is None and two.day is not None and one.of_day is not None:
        one = replace(one, day=two.day)
    if two.kind == "now":
        start = _begin(one, clock)
        return (start, clock.now) if start else None
    if one.clock and two.clock:
        start = moment_of(replace(one, zone=one.zone or two.zone), clock)
        end = moment_of(replace(two, zone=two.zone or one.zone), clock, after=start) if start else None
        return (start, end) if start and end and end > start else None
    if one.kind in ("day", "part", "ago") and two.kind in ("day", "part", "ago") and (framed or to.strip() != "and"):
        start, last = _begin(one, clock), _stretch(two, clock)
        return (start, last[1]) if start and last and last[1] > start else None
    return None


def _begin(piece: Piece, clock: Clock) -> datetime | None:
    if piece.clock:
        return moment_of(piece, clock)
    whole = _stretch(piece, clock)
    return whole[0] if whole else None


def _alone(
    piece: Piece, relation: str, said_from: int, text: str, clock: Clock, default: timedelta
) -> tuple[datetime, datetime] | None:
    now = clock.now
    if piece.kind == "now":
        just = text[piece.start : piece.end].lower().startswith("just")
        return now - (AROUND if just else default), now
    if piece.kind == "been":  # says since when, and is no limit to what is looked at
        length = (piece.length or default) + AROUND
        since = length > default and _AGAIN.search(text[max(0, piece.start - 80) : piece.start])
        return (now - length, now) if since else None
    if piece.kind in ("hour", "zone", "never"):
        return None
    if piece.clock:
        moment = moment_of(piece, clock)
        if moment is None or moment > now:
            return None
        if relation == "after" and piece.day is not None and piece.day < clock.today:
            return moment, clock.midnight(piece.day + DAY)
        if relation in _OPEN or relation in _CLOSED:
            return (moment, now) if relation in _OPEN else (moment - BEFORE, moment)
        return _about(moment, piece, said_from, text, now)
    if piece.kind == "part" and piece.day is None:
        if not re.search(r"\b(?:in|during) the $", text[max(0, piece.start - 12) : piece.start], re.IGNORECASE):
            return None
        piece = replace(piece, day=clock.today if _begin(replace(piece, day=clock.today), clock) else clock.today - DAY)
    if piece.kind == "ago" and piece.length and piece.day is None and relation not in _OPEN:
        return _about(now - piece.length, piece, said_from, text, now)
    whole = _stretch(piece, clock)
    if whole is None:
        return None
    if relation in _OPEN and piece.kind != "back":
        return (piece.kind == "ago" and now - (piece.length or DAY)) or whole[relation == "after"], now
    return (whole[0] - DAY, whole[0]) if relation in _CLOSED and piece.kind in ("day", "part") else whole


def _about(moment: datetime, piece: Piece, said_from: int, text: str, now: datetime) -> tuple[datetime, datetime]:
    """What is looked at for one moment: what was known at it, unless it is named roughly or stands in a pasted line."""
    line = text[max(0, said_from - 120) : said_from]
    if _BEGAN.search(line):
        return moment - AROUND, now
    far = piece.length / 4 if piece.kind == "ago" and piece.length else AROUND
    # A time to the second is seldom typed, but pasted with the line in front of which it stands.
    pasted = piece.clock and (moment.microsecond or (moment.second and _LINE_BEGINS.search(line)))
    if (
        (pasted and said_from == piece.start)
        or _NEARLY.search(text, said_from, piece.end)
        or _OR_SO.match(text, piece.end)
    ):
        slack = max(AROUND, far)
        return moment - slack, moment + slack / 2
    return moment - max(UP_TO, far), moment


def _stretch(piece: Piece, clock: Clock) -> tuple[datetime, datetime] | None:
    """All of what is named without a time of day."""
    now = clock.now
    if piece.stretch is not None:
        return piece.stretch
    if piece.kind == "back" and piece.length:
        return now - piece.length, now
    if piece.kind == "ago" and piece.length and piece.hours is None:
        moment, slack = now - piece.length, piece.length / 4  # "two days ago" is not said to the minute
        return (moment - slack, moment + slack / 2) if piece.day else (moment, moment)
    if piece.day is None:
        return None
    first, last = piece.hours or (0, 24)
    start, end = (_wall(piece.day, hour, clock.zone) for hour in (first, last))
    return start, end


def _wall(day: date, hour: int, zone: tzinfo) -> datetime:
    return datetime.combine(day + DAY * (hour // 24), time(hour % 24), zone).astimezone(UTC)


def moment_of(piece: Piece, clock: Clock, after: datetime | None = None) -> datetime | None:
    """When a time of day was: on the day that is named, else after a moment, else the latest time."""
    if piece.moment is not None or piece.of_day is None:
        return piece.moment if after is None or piece.moment is None or piece.moment > after else None
    zone, day, of_day = piece.zone or clock.zone, piece.day, piece.of_day
    if piece.loose and piece.hours is not None and piece.hours[0] >= 12 and 1 <= of_day.hour < 12:
        afternoon = of_day.hour >= (5 if piece.hours[0] >= 17 else 1)
        of_day = of_day.replace(hour=of_day.hour + 12) if afternoon else of_day
    if piece.hours is not None and piece.hours[1] > 24 and of_day.hour < 12 and day is not None:
        day += DAY  # of the night that begins on that day
    if day is not None:
        moment = _clocks(day, of_day, zone)[0]
        if after is None or moment > after:
            return moment
    if after is not None:
        start = after.astimezone(zone).date()
        return next(m for n in (0, 1, 2) for m in _clocks(start + n * DAY, of_day, zone) if m > after)
    today = clock.now.astimezone(zone).date()
    return next(m for n in (0, 1, 2) for m in _clocks(today - n * DAY, of_day, zone)[::-1] if m <= clock.now)


def _clocks(day: date, of_day: time, zone: tzinfo) -> list[datetime]:
    """The moments at which a clock shows this time on this day: two of them when it is set back."""
    wall = datetime.combine(day, of_day, zone)
    return sorted({wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1)})
