"""Metric series against their own band: level shift, spike, trend, missing data. Pure.

A minute is judged at its first point, so that trouble is told within it, and learned once, when the next one has
begun: what is sent twice, or again with more in it, teaches nothing twice. Counters are judged by their rate.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Final, Self

from processors.insights.band import LARGEST, SHORT, YOUNG, Band, Score
from processors.insights.corroboration import hurts, is_load, sort_of_series
from processors.insights.silence import Silences
from schemas.documents import DAY_MS, MINUTE_MS, digest
from schemas.evidence_id import minutes_id
from schemas.insight_settings import Detection
from schemas.insights import TEXT_CHARS, Symptom, SymptomKind
from schemas.records import ERROR, INFO, WARN, Resource
from schemas.summaries import Point, Sampled

Json = dict[str, Any]

# Thousands of series are watched at once. Of 1,000 with 1,440 points a day, of which ten in a row are one judgement
# (`band.SMOOTH`), 1.4 pass five decades in a day by chance alone, and 144 pass three. A band believes five decades
# after a day or two of points, so that nothing young opens an incident.
TOLD: Final = 3.0  # decades: a symptom of at least `band.SHORT` points, which can join an incident
SUDDEN: Final = 4.0  # and one of fewer points: those are what heavy tails are made of
OPENS: Final = 5.0  # decades: opens an incident, if it lasts
LASTS_MS: Final = 5 * MINUTE_MS  # the usual `for:` of alert rules
LASTS_POINTS: Final = 3
MATERIAL: Final = 0.5  # of what is usual: a smaller change may be certain and yet matter to nobody
CEILINGS: Final = (100.0, 1.0)  # of availability and its like, in percent or as a share
SHORTFALL: Final = 0.01  # of the ceiling: the whole error budget of an objective of 99 %
CHOICE: Final = 1.0  # decades that a change is worth less to others: of dozens of neighbours some do change
AT_LEAST: Final = 2  # points that weigh; one may be a single slow request
TREND_DAYS: Final = 2  # before so many are known, a trend may be the hour of the day
BACK_MS: Final = 3 * MINUTE_MS  # in its band for so long: over
TELL_MS: Final = MINUTE_MS  # between two tellings of the same symptom
WEAK: Final = 0.3  # strength of what has not lasted, or is small: it is believed three times in ten
YOUNG_SHARE: Final = 0.25  # of the places, that series without a history may take from those with one
MENTIONS: Final = 12
MENTION_CHARS: Final = 100
VERBS: Final = {
    ("shift", True): "rose to", ("shift", False): "fell to",
    ("spike", True): "jumped to", ("spike", False): "dropped to",
    ("trend", True): "has been rising to", ("trend", False): "has been falling to",
}  # fmt: skip
KINDS: Final[Mapping[str, SymptomKind]] = {"shift": "metric-shift", "spike": "metric-spike", "trend": "metric-trend"}


class Watched:
    """One series: its band, the minute that is not over yet, and the symptom that goes on."""

    __slots__ = (
        "back_ms", "band", "first_ms", "from_ms", "from_value", "high", "kind", "last_ms", "low", "mentions",
        "monotonic", "most", "name", "opens", "peak", "point_ms", "point_value", "resource", "seen_ms", "sort",
        "start_ms", "told_ms", "unit", "up", "weighs",
    )  # fmt: skip

    def __init__(self, summary: Sampled, mentions: tuple[str, ...]) -> None:
        self.name, self.unit, self.monotonic = summary.name, summary.unit, summary.monotonic
        self.resource, self.mentions = summary.resource, mentions
        self.sort = sort_of_series(summary.name, summary.labels)
        self.band = Band()
        self.first_ms = 0
        self.from_ms, self.from_value = 0, 0.0  # the end of the minute before: where a counter's rate is counted from
        self.point_ms, self.point_value = 0, 0.0  # of the newest minute
        self.start_ms = 0  # of the symptom that goes on; 0: none
        self.seen_ms = self.last_ms = self.told_ms = 0
        self.back_ms = 0  # since when it is back in its band; 0: it is not
        self.kind, self.up = "", True
        self.peak = 0.0  # decades
        self.most = 0.0  # the value that was furthest out
        self.opens = self.weighs = False
        self.low = self.high = 0.0  # the band, as it was when it was left

    def measure(self) -> float | None:
        """What the band judges. None where a counter has no rate: at its start, and when it was reset."""
        if not self.monotonic:
            return self.point_value
        if not self.from_ms or self.point_value < self.from_value:
            return None
        return (self.point_value - self.from_value) * 1000.0 / (self.point_ms - self.from_ms)

    def dump(self) -> list[Any]:
        return [self.band.dump(), list(self.resource), list(self.mentions), *PLAIN_OF(self)]

    @classmethod
    def load(cls, dumped: list[Any]) -> Self:
        watched = cls.__new__(cls)
        band, resource, mentions, *plain = dumped
        watched.band, watched.resource, watched.mentions = Band.load(band), Resource(*resource), tuple(mentions)
        for name, value in zip(PLAIN, plain, strict=True):
            setattr(watched, name, value)
        return watched


PLAIN: Final = tuple(name for name in Watched.__slots__ if name not in ("band", "resource", "mentions"))
PLAIN_OF: Final = attrgetter(*PLAIN)


class SeriesBands:
    """The series of one cluster. The idlest are forgotten first, and of those that still have no history, more.

    `dropped`: series that were forgotten; `late`: points of minutes that were learned already; `refused`: points that
    are no finite numbers; `resets`: of counters.
    """

    def __init__(self, settings: Detection) -> None:
        self._most = settings.most_series
        self._known: OrderedDict[str, Watched] = OrderedDict()  # the idlest first
        self._young: OrderedDict[str, Watched] = OrderedDict()
        self._silences = Silences()
        self.dropped = self.late = self.refused = self.resets = 0

    def __len__(self) -> int:
        return len(self._known) + len(self._young)

    def see(self, summary: Sampled, now_ms: int) -> Iterable[Symptom]:
        series, signs = summary.series, list[Symptom]()
        watched = self._known.get(series) or self._young.get(series)
        for point in summary.points:
            if not -LARGEST < point.value < LARGEST:
                self.refused += 1
                continue
            if watched is None:
                signs += self._make_room(now_ms)
                watched = self._young[series] = _watch(summary)
            elif point.time_ms // MINUTE_MS <= watched.point_ms // MINUTE_MS:
                self._again(watched, point)
                continue
            else:
                signs += self._learn(series, watched, now_ms)
            watched.point_ms, watched.point_value = point.time_ms, point.value
            signs += self._silences.heard(series, now_ms)
            measure = watched.measure()
            if measure is not None and watched.band.points >= YOUNG:
                score = watched.band.judge(point.time_ms, measure)
                if watched.start_ms or score.surprise >= TOLD:
                    signs += _follow(series, watched, score, measure, now_ms)
        return signs

    def _again(self, watched: Watched, point: Point) -> None:
        if point.time_ms // MINUTE_MS < watched.point_ms // MINUTE_MS:
            self.late += 1
        elif point.time_ms >= watched.point_ms:
            watched.point_ms, watched.point_value = point.time_ms, point.value

    def _learn(self, series: str, watched: Watched, now_ms: int) -> list[Symptom]:
        """The newest minute of a series is over."""
        measure, band = watched.measure(), watched.band
        if measure is None and watched.from_ms:
            self.resets += 1
        watched.from_ms, watched.from_value = watched.point_ms, watched.point_value
        place = self._known
        if series not in place:
            place = self._young
        place.move_to_end(series)
        if measure is None:
            return []
        score = band.update(watched.point_ms, measure)
        if band.points < YOUNG:
            return []
        if place is self._young:
            self._known[series] = self._young.pop(series)
        self._silences.expect(series, band.interval)
        if watched.start_ms or score.surprise >= TOLD:
            return _follow(series, watched, score, measure, now_ms)
        return []

    def _make_room(self, now_ms: int) -> Iterator[Symptom]:
        """For one more: forget the idlest."""
        while len(self) >= self._most:
            young = len(self._young) > YOUNG_SHARE * self._most or not self._known
            series, watched = (self._young if young else self._known).popitem(last=False)
            self.dropped += 1
            self._silences.forget(series)
            if watched.start_ms:
                yield _over(series, watched, now_ms)

    def advance(self, now_ms: int) -> Iterable[Symptom]:
        """What has fallen silent; a symptom of a series that tells no more is over."""
        silent, signs = self._silences.advance(now_ms, self._who)
        for series in silent:
            watched = self._known[series]
            if watched.start_ms:
                signs.append(_over(series, watched, now_ms))
        return signs

    def _who(self, series: str) -> tuple[Resource, str]:
        watched = self._known[series]
        return watched.resource, watched.name

    def dump(self) -> Json:
        return {
            "known": [[series, *watched.dump()] for series, watched in self._known.items()],
            "young": [[series, *watched.dump()] for series, watched in self._young.items()],
            "silences": self._silences.dump(),
            "counts": [self.dropped, self.late, self.refused, self.resets],
        }

    @classmethod
    def load(cls, dumped: Json, settings: Detection) -> Self:
        bands = cls(settings)
        bands._known.update((series, Watched.load(rest)) for series, *rest in dumped["known"])
        bands._young.update((series, Watched.load(rest)) for series, *rest in dumped["young"])
        bands._silences = Silences.load(dumped["silences"])
        bands.dropped, bands.late, bands.refused, bands.resets = dumped["counts"]
        return bands


def _watch(summary: Sampled) -> Watched:
    named = dict.fromkeys(
        value for value in summary.labels.values() if 1 < len(value) <= MENTION_CHARS and not _is_number(value)
    )
    mentions = tuple(named)[:MENTIONS]
    watched = Watched(summary, mentions)
    watched.first_ms = summary.points[0].time_ms
    return watched


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("+-").isdigit()


def _follow(series: str, watched: Watched, score: Score, measure: float, now_ms: int) -> list[Symptom]:
    """What this point means for the symptom of its series: it begins, goes on, or is over."""
    time_ms = watched.point_ms
    if not score.run:
        if not watched.start_ms:
            return []
        watched.back_ms = watched.back_ms or time_ms
        return [_over(series, watched, now_ms)] if time_ms - watched.back_ms >= BACK_MS else []
    rising, lasts = score.run > 0, abs(score.run)
    weighs = lasts >= AT_LEAST and _is_material(watched, score, measure)
    if not watched.start_ms:
        if lasts < SHORT and score.surprise < SUDDEN and not (weighs and hurts(watched.sort, up=rising)):
            return []
        watched.start_ms = time_ms - int((lasts - 1) * watched.band.interval)
        watched.seen_ms, watched.told_ms, watched.peak, watched.opens = now_ms, 0, 0.0, False
        watched.low, watched.high = score.low, score.high
        watched.weighs, watched.most = False, measure
    watched.back_ms, watched.last_ms = 0, time_ms
    watched.most = (max if rising else min)(watched.most if rising == watched.up else measure, measure)
    watched.kind, watched.up = score.kind, rising
    watched.peak = max(watched.peak, score.surprise)
    opens, weighs = watched.opens or _opens(watched, score, measure), watched.weighs or weighs
    if (opens, weighs) == (watched.opens, watched.weighs) and time_ms - watched.told_ms < TELL_MS:
        return []
    watched.opens, watched.weighs, watched.told_ms = opens, weighs, time_ms
    return [_symptom(series, watched, measure, ended=False)]


def _is_material(watched: Watched, score: Score, measure: float) -> bool:
    """Large enough to matter. Of what is nearly always at its ceiling counts what is missing to that."""
    low, high = (watched.low, watched.high) if watched.start_ms else (score.low, score.high)
    if watched.sort == "availability" and score.run < 0:
        for ceiling in CEILINGS:
            if measure < low <= ceiling <= high:
                return ceiling - measure >= max(SHORTFALL * ceiling, (1.0 + MATERIAL) * (ceiling - low))
    return abs(measure - (high if score.run > 0 else low)) >= MATERIAL * max(abs(low), abs(high))


def _opens(watched: Watched, score: Score, measure: float) -> bool:
    """Strong, lasting, large enough to matter, and no mere load; that may rise for days till nothing is left."""
    known_days = (watched.point_ms - watched.first_ms) / DAY_MS
    return (
        watched.peak >= OPENS
        and watched.point_ms - watched.start_ms >= LASTS_MS
        and abs(score.run) >= LASTS_POINTS
        and _is_material(watched, score, measure)
        and (not is_load(watched.sort, up=watched.up) if watched.kind == "shift" else known_days >= TREND_DAYS)
    )


def _strength(watched: Watched) -> float:
    """What it is worth as evidence, see `corroboration`: as many decades as together open are nine in ten.

    Half as many of what may be mere load.
    """
    if not watched.weighs:
        return WEAK
    worth = (watched.peak - CHOICE) / OPENS
    if not (watched.opens or hurts(watched.sort, up=watched.up)):
        worth /= 2
    return 1.0 - math.pow(10.0, -worth)


def _over(series: str, watched: Watched, now_ms: int) -> Symptom:
    symptom = _symptom(series, watched, None, ended=True)
    watched.start_ms = watched.back_ms = 0
    return symptom


def _symptom(series: str, watched: Watched, measure: float | None, *, ended: bool) -> Symptom:
    who = watched.resource
    value = watched.most if measure is None else measure
    low = 0.0 if watched.low < 0.0 <= min(watched.high, value) else watched.low
    usual = _number(low) if _number(low) == _number(watched.high) else f"{_number(low)} to {_number(watched.high)}"
    unit = f" {watched.unit}" if watched.unit not in ("", "1") else ""
    if watched.monotonic:
        unit += "/s"
    what = f"{VERBS[watched.kind, watched.up]} {_number(value)}{unit}, usually {usual}{unit}"
    severity = ERROR if watched.opens else WARN if hurts(watched.sort, up=watched.up) else INFO
    return Symptom(
        # Not of its kind, which shows as it goes on: what begins as a spike may turn out to be a shift.
        id=digest("metric", series, str(watched.start_ms // MINUTE_MS)),
        fingerprint=digest("metric", who.cluster, who.namespace, who.workload or who.node, watched.name),
        kind=KINDS[watched.kind],
        resource=who,
        start_ms=watched.start_ms,
        seen_ms=watched.seen_ms,
        last_ms=watched.last_ms,
        ended=ended,
        strength=_strength(watched),
        opens=watched.opens,
        severity=severity,
        name=watched.name,
        text=f"{watched.name} of {who.entity} {what}{', and is back' if ended else ''}"[:TEXT_CHARS],
        evidence=minutes_id("metric", series, watched.start_ms, watched.last_ms),
        mentions=watched.mentions,
    )


def _number(value: float) -> str:
    """Three digits that matter, without an exponent where people would write none."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"
