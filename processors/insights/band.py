"""One metric series against its own past: what is to be expected now, and how surprising is what came instead. Pure.

    point -> expected (level, or hour of the day) -> deviation, smoothed -> tail probability -> less what was told

A point is compared with the slow level of its series, or with the same hour of earlier days where that tells more.
The deviations are smoothed, so that what lasts counts and what is over after one point hardly does. How surprising a
smoothed deviation is, is the probability of one as large, from the tail of those that this series has shown before,
in decades: 3 is one in a thousand. What was told is forgotten within days, so that one change is told once.
"""

import math
from operator import attrgetter
from typing import Any, Final, NamedTuple, Self

from schemas.documents import DAY_MS, HOUR_MS

# One configuration for every system. Where no source is named, a value was chosen by hand near the middle of what
# scores well on the series of tests/evaluation/insights/nab.py, where all of them together score 65: half or twice of
# any single one scores 58 to 68, of most of them 62 to 67.
SMOOTH: Final = 0.1  # weight of a new point in the smoothed deviation: about the last ten points
SLOW: Final = 0.002  # in the level: about the last 500
SCALE: Final = 0.005  # in the usual size of deviations: about the last 200
SETTLING: Final = 20  # points, before outliers can be told from others
LEVEL_CLIP: Final = 3.0  # usual deviations: a point further away moves the level no more than that
SIZE_CLIP: Final = 6.0  # and the usual deviation
SEASONAL: Final = 0.6  # the hour of the day is what is expected where its deviations are this much smaller
SEASONAL_DAYS: Final = 2  # and after so many days of comparing
LEAST: Final = 0.3  # usual deviations from the level: less is no surprise at any hour (steep edges move a little)
HOURS: Final = 24
SAME_HOUR: Final = 0.3  # weight of the newest day in what is usual at an hour: about the last three days
TAIL: Final = 0.02  # share of deviations that make the tail (Siffer et al., 2017: "98 % in practice")
TAIL_RATE: Final = 0.002  # how fast its threshold follows
TAIL_PRIOR: Final = 3.0  # exceedances assumed before any is seen: few make the tail heavy
TAIL_MOST: Final = 50.0  # exceedances that count, so that the tail follows a series that changes
TAIL_CLIP: Final = 8.0  # usual excesses: a larger one teaches no more than that
UNSEEN: Final = 1.5  # decades beyond the one in so many points seen that are believed,
UNSEEN_KNOWN: Final = 50.0  # and one more for so many exceedances seen
MOST: Final = 10.0  # decades: beyond, the estimate says nothing
FADES_DAY: Final = 4.0  # decades a day: how fast what was told is forgotten,
FADES_POINT: Final = 0.01  # and a point, for series of few points a day
REST: Final = 0.5  # what is told is remembered by this much more of its news, so that a climb is told once
YOUNG: Final = 30  # points before anything is told
GAP: Final = 10.0  # usual intervals: after a longer silence the smoothed deviation starts anew
WIDE: Final = 3.0  # usual deviations on either side: the band. Of a normal distribution 1.7 % lie outside
SHORT: Final = 3  # points in a row outside of the band: fewer are a spike
STEEP: Final = 0.5  # of the deviation made in one step: less is a trend
FARTHEST: Final = 99.0
LARGEST: Final = 1e150  # of a value: differences and products stay finite
_LOG_TAIL: Final = math.log10(TAIL)


class Score(NamedTuple):
    """How surprising one point is."""

    likelihood: float  # 0..1 that something changed here that was not told yet: 1 - 10^-(decades of news)
    surprise: float  # decades, told or not
    kind: str  # shift, spike or trend
    far: float  # of the point from what is expected, in usual deviations; below zero: lower
    run: int  # points in a row above the band, this one included; below zero: below it
    low: float  # the band
    high: float

    @property
    def outside(self) -> bool:
        return self.run != 0


class _Judged(NamedTuple):
    score: Score
    same: float | None
    smoothed: float
    same_smoothed: float
    memory: float
    step: float


class Tail:
    """The largest deviations of a series: a threshold that few pass, and by how much those few pass it.

    Excesses are exponential with a gamma prior, which makes Lomax's tail: heavy while few of them are known.
    """

    __slots__ = ("excess", "known", "seen", "threshold")

    def __init__(self, threshold: float = 0.0, excess: float = 0.0, known: float = 0.0, seen: int = 0) -> None:
        self.threshold, self.excess, self.known, self.seen = threshold, excess, known, seen

    def surprise(self, size: float) -> float:
        """Decades: how rare a deviation of this size or more is; 0 within the threshold."""
        beyond = size - self.threshold
        if beyond <= 0.0 or not self.seen:
            return 0.0
        believed = min(MOST, math.log10(self.seen) + UNSEEN + self.known / UNSEEN_KNOWN)
        known = self.known + TAIL_PRIOR
        if beyond > known * self.excess * 1e9:  # of a series that was constant until now
            return believed
        return min(believed, known * math.log10(1.0 + beyond / (known * self.excess)) - _LOG_TAIL)

    def learn(self, size: float) -> None:
        self.seen += 1
        if self.seen == 1:
            self.threshold = self.excess = size
            return
        usual, beyond, step = self.excess, size - self.threshold, -TAIL
        if beyond > 0.0:
            step += 1.0
            self.known = min(self.known + 1.0, TAIL_MOST)
            self.excess += ((min(beyond, TAIL_CLIP * usual) if usual else beyond) - usual) / (self.known + 2.0)
        # Steps in proportion to the tail's own size: the share above the threshold becomes `TAIL`.
        rate = 3.0 * max(1.0 / self.seen, TAIL_RATE)
        self.threshold = max(0.0, self.threshold + step * rate * (usual + 0.2 * self.threshold))


class Band:
    """What one series has been like. Forty numbers or so, whatever its length."""

    __slots__ = (
        "hour", "hour_points", "hour_sum", "hourly", "interval", "level", "level_size", "memory", "points", "run",
        "same_size", "same_smoothed", "same_tail", "smoothed", "step", "tail", "time_ms", "value",
    )  # fmt: skip

    def __init__(self) -> None:
        self.points = 0
        self.time_ms = 0
        self.interval = 0.0  # the usual one, ms
        self.value = 0.0
        self.level = self.level_size = 0.0  # and the usual deviation from it
        self.smoothed = 0.0  # deviation from it
        self.tail = Tail()
        self.hourly: list[float | None] | None = None  # what is usual at each hour of the day; none for young series
        self.same_size = self.same_smoothed = 0.0  # likewise, of deviations from that
        self.same_tail: Tail | None = None
        self.hour = self.hour_points = 0  # hours since 1970 of the newest points, and how many
        self.hour_sum = 0.0
        self.memory = 0.0  # decades that were told
        self.run = 0  # as in Score
        self.step = 0.0  # the largest of that run

    def judge(self, time_ms: int, value: float) -> Score:
        """How surprising this point would be. Nothing is learned. Raises ValueError for what is no number."""
        if not -LARGEST < value < LARGEST:
            raise ValueError(f"not a finite number: {value}")
        return self._judge(time_ms, value).score if self.points else Score(0.0, 0.0, "shift", 0.0, 0, value, value)

    def update(self, time_ms: int, value: float) -> Score:
        """Judge a point and learn it. Points come in order of time. Raises ValueError for what is no number."""
        if not -LARGEST < value < LARGEST:
            raise ValueError(f"not a finite number: {value}")
        if not self.points:
            self.points, self.level = 1, value
            self._learn_hour(time_ms // HOUR_MS, value)
            self.time_ms, self.value = time_ms, value
            return Score(0.0, 0.0, "shift", 0.0, 0, value, value)
        judged = self._judge(time_ms, value)
        passed = float(time_ms - self.time_ms)
        if self.interval:  # a gap teaches little
            passed = min(passed, 5.0 * self.interval)
        self.interval += max(1.0 / self.points, 0.05) * (passed - self.interval)
        self.tail.learn(abs(judged.smoothed))
        self.smoothed, self.memory = judged.smoothed, judged.memory
        self.run, self.step = judged.score.run, judged.step
        self.points += 1
        rate = max(1.0 / self.points, SCALE)
        if judged.same is not None:
            if self.same_tail is None:
                self.same_tail = Tail()
            self.same_tail.learn(abs(judged.same_smoothed))
            self.same_smoothed = judged.same_smoothed
            self.same_size = _towards(self.same_size, abs(value - judged.same), rate)
        away, most = value - self.level, LEVEL_CLIP * self.level_size
        self.level_size = _towards(self.level_size, abs(away), rate)
        if self.points > SETTLING:
            away = max(-most, min(most, away))
        self.level += max(1.0 / self.points, SLOW) * away
        self._learn_hour(time_ms // HOUR_MS, value)
        self.time_ms, self.value = time_ms, value
        return judged.score

    def _judge(self, time_ms: int, value: float) -> _Judged:
        passed = time_ms - self.time_ms
        gone_on = passed <= GAP * self.interval or self.points < 2
        expected, size, away = self.level, self.level_size, value - self.level
        before = self.smoothed if gone_on else 0.0
        smoothed = before + SMOOTH * (away - before)
        same, same_smoothed, tail, told = self._same_hour(time_ms), 0.0, self.tail, abs(smoothed)
        if same is not None:
            before = self.same_smoothed if gone_on else 0.0
            same_smoothed = before + SMOOTH * (value - same - before)
            hours = self.same_tail
            known = hours is not None and hours.seen * self.interval >= SEASONAL_DAYS * DAY_MS
            if hours is not None and known and 0.0 < self.same_size < SEASONAL * size:
                expected, size, away = same, self.same_size, value - same
                tail, told = hours, abs(same_smoothed)
        surprise = tail.surprise(told) if told >= LEAST * self.level_size else 0.0

        wide = WIDE * size
        run, step = 0, 0.0
        if not -wide <= away <= wide:
            sign = 1 if away > 0.0 else -1
            goes_on = gone_on and self.run * sign > 0
            run = self.run + sign if goes_on else sign
            step = max(self.step, abs(value - self.value)) if goes_on else abs(value - self.value)
        kind = "shift"
        if 0 < abs(run) < SHORT:
            kind = "spike"
        elif run and step < STEEP * abs(away):
            kind = "trend"

        memory = max(0.0, self.memory - FADES_DAY * passed / DAY_MS - FADES_POINT)
        news = surprise - memory if self.points >= YOUNG else 0.0
        if news > 0.0 and run:  # what is within the band is no news
            memory = surprise + REST * news
        else:
            news = 0.0
        far = max(-FARTHEST, min(FARTHEST, away / size)) if size else math.copysign(FARTHEST, away) if away else 0.0
        score = Score(1.0 - 10.0**-news, surprise, kind, far, run, expected - wide, expected + wide)
        return _Judged(score, same, smoothed, same_smoothed, memory, step)

    def _same_hour(self, time_ms: int) -> float | None:
        """Between what is usual in the middle of one hour and of the next."""
        if self.hourly is None:
            return None
        place = time_ms / HOUR_MS - 0.5
        first = math.floor(place)
        here, there = self.hourly[first % HOURS], self.hourly[(first + 1) % HOURS]
        return None if here is None or there is None else here + (place - first) * (there - here)

    def _learn_hour(self, hour: int, value: float) -> None:
        if hour != self.hour and self.hour_points:
            mean, at = self.hour_sum / self.hour_points, self.hour % HOURS
            if self.hourly is None:
                self.hourly = [None] * HOURS
            known = self.hourly[at]
            most = SIZE_CLIP * self.same_size
            self.hourly[at] = mean if known is None else known + SAME_HOUR * max(-most, min(most, mean - known))
            self.hour_points, self.hour_sum = 0, 0.0
        self.hour = hour
        self.hour_points += 1
        self.hour_sum += value

    def dump(self) -> list[Any]:
        """Plain numbers, which `load` turns into the same band."""
        tails = (tail and [tail.threshold, tail.excess, tail.known, tail.seen] for tail in (self.tail, self.same_tail))
        return [*tails, self.hourly and list(self.hourly), *PLAIN_OF(self)]

    @classmethod
    def load(cls, dumped: list[Any]) -> Self:
        band = cls()
        tail, same_tail, hourly, *plain = dumped
        band.hourly = hourly and list(hourly)
        band.tail, band.same_tail = Tail(*tail), same_tail and Tail(*same_tail)
        for name, value in zip(PLAIN, plain, strict=True):
            setattr(band, name, value)
        return band


PLAIN: Final = tuple(name for name in Band.__slots__ if name not in ("tail", "same_tail", "hourly"))
PLAIN_OF: Final = attrgetter(*PLAIN)


def _towards(usual: float, seen: float, rate: float) -> float:
    """The usual size of something after one more of it; outliers count no more than `SIZE_CLIP` of them."""
    return usual + rate * ((min(seen, SIZE_CLIP * usual) if usual else seen) - usual)
