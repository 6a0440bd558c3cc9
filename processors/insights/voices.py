"""What is remembered of those who speak: workloads, their patterns, and minutes that may still grow. Pure."""

from dataclasses import dataclass, field
from typing import Any, Final

from processors.insights.usual import Usual
from processors.insights.wording import clock, lasting, short, times
from schemas.documents import DAY_MS, HOUR_MS, MINUTE_MS, digest, minute_of
from schemas.insights import SymptomKind
from schemas.records import Resource
from schemas.summaries import Said

Row = list[Any]
GROWING: Final = 2  # minutes: counts of known patterns come ten seconds late, and a lagging partition somewhat more
# A speaker of rate r is silent for longer than 7/r once in a thousand times (Poisson: e^-7; `cag/cadence.py`), for 14/r
# once in a million: a thousand speakers of ten lines a minute pause 600,000 times an hour.
ODDS, GAPS = 14, 2
STEADY_MINUTES, STEADY_RATE = 15.0, 2.0  # of history, lines a minute
PATIENCE_MS: Final = 90_000  # at least, as counts may be ten seconds late and schedulers take half a minute
CROWD: Final = 63  # speakers whose clocks are compared
HEARD: Final = 4_096  # summaries after which a speaker that says nothing is no longer one of them
DOCUMENTS: Final = 2_000  # pods that say one thing in a minute, and are counted one by one
KNOWN: Final = -1.0  # in `Line.before`: what comes again is not new
LIKE_WORDS: Final = 5  # at least, of patterns that are compared
_FORGIVING: Final = 0.9  # a day: what was a peak of this hour two weeks ago counts for a quarter
_GAP_KEPT: Final = 0.98  # a minute: the longest silence is forgotten within an hour or two


@dataclass(slots=True)
class Episode:
    """A symptom that goes on."""

    kind: SymptomKind
    id: str
    fingerprint: str
    start_ms: int
    told_ms: int
    last_ms: int
    evidence: str
    text: str  # of one of the lines
    at: list[str]
    count: int = 0
    usual: float = 0.0  # a minute, as it began
    strength: float = 0.0
    opens: bool = False

    def begin(self, start_ms: int) -> None:
        """The minute in which it begins is part of its name."""
        self.start_ms, self.id = start_ms, digest(self.fingerprint, str(minute_of(start_ms)))

    def row(self) -> Row:
        return [getattr(self, name) for name in self.__slots__]


@dataclass(slots=True)
class Line:
    """One pattern of a workload."""

    name: str
    severity: int  # by which it is judged; 0: no complaint
    said_severity: int
    pod: str
    node: str
    first_ms: int
    last_ms: int
    before: float  # minutes that its workload was heard when it was said first, or KNOWN
    index: int  # of the last minute that `usual` holds
    total: int = 0
    gap_ms: float = 0.0
    closed_ms: int = -1  # the newest minute that is in `usual`: what comes later for it is not counted
    usual: Usual = field(default_factory=Usual)
    hours: dict[str, Row] = field(default_factory=dict)  # hour of the day: day, peak of earlier days, peak of that day
    growing: list[Row] = field(default_factory=list)  # minute, count, {document: {slice: [mark, count]}}
    episode: Episode | None = None

    @classmethod
    def of(cls, said: Said, severity: int, before: float, index: int) -> "Line":
        who = said.resource
        text = said.template or said.text
        return cls(short(text), severity, said.severity, who.pod, who.node, said.first_ms, 0, before, index)

    def like(self, other: "Line") -> bool:
        """But for a word or two: a country, a user, a queue that templates do not mask."""
        mine, its = self.name.split(), other.name.split()
        if len(mine) != len(its) or len(mine) < LIKE_WORDS:
            return False
        return sum(a != b for a, b in zip(mine, its, strict=True)) <= 1 + (len(mine) >= 3 * LIKE_WORDS)

    def refuses(self, said: Said) -> str:
        """Why this summary is not counted; empty when it is."""
        if said.minute_ms <= self.closed_ms:
            return "late"
        documents: Row | dict[str, Row] = next((each[2] for each in self.growing if each[0] == said.minute_ms), {})
        return "documents" if len(documents) >= DOCUMENTS and said.document.id not in documents else ""

    def take(self, said: Said) -> int:
        """Join a summary; how many lines more that makes."""
        minute = next((each for each in self.growing if each[0] == said.minute_ms), None)
        if minute is None:
            minute = [said.minute_ms, 0, {}]
            self.growing.append(minute)
            self.growing.sort(key=lambda each: each[0])
        slices = minute[2].setdefault(said.document.id, {})
        more = 0
        for key, part in said.slices.items():
            known = slices.get(key, (-1, 0))
            if part > tuple(known):
                slices[key] = list(part)
                more += part[1] - known[1]
        minute[1] += more
        self.total += more
        if self.last_ms and said.first_ms > self.last_ms:
            self.gap_ms = max(self.gap_ms, said.first_ms - self.last_ms)
        self.first_ms, self.last_ms = min(self.first_ms, said.first_ms), max(self.last_ms, said.last_ms)
        if self.pod != said.resource.pod:
            self.pod = ""
        if self.node != said.resource.node:
            self.node = ""
        return more

    def close(self, before_ms: int, indices: dict[int, int]) -> None:
        """Learn the minutes before this one; those of a burst are known by their hour's peak only."""
        while self.growing and self.growing[0][0] < before_ms:
            minute, count, _ = self.growing.pop(0)
            self.closed_ms = minute
            index = indices.get(minute, self.index + 1)
            self.gap_ms *= _GAP_KEPT ** max(index - self.index, 1)
            self._peak(minute, count)
            if self.episode is None or self.episode.kind != "pattern-burst":
                self.usual = self.usual.silent(index - self.index - 1)
                self.usual.learn(count)
            self.index = max(self.index, index)

    def _peak(self, minute_ms: int, count: int) -> None:
        hour, day = str(minute_ms // HOUR_MS % 24), minute_ms // DAY_MS
        known = self.hours.setdefault(hour, [day, 0.0, 0])
        if day > known[0]:
            earlier = max(known[1], known[2]) * _FORGIVING ** (day - known[0])
            known[:] = [day, earlier, 0]
        known[2] = max(known[2], count)

    def peak(self, minute_ms: int) -> float:
        """The most that was said in a minute around this hour of earlier days."""
        hour, day = minute_ms // HOUR_MS, minute_ms // DAY_MS
        around = (self.hours.get(str((hour + step) % 24)) for step in (-1, 0, 1))
        return max((max(e[1], e[2] if e[0] < day else 0) * _FORGIVING ** (day - e[0]) for e in around if e), default=0)

    def row(self) -> Row:
        plain = [getattr(self, name) for name in self.__slots__[:12]]
        usual = [self.usual.minutes, self.usual.total, self.usual.squares]
        return [*plain, usual, self.hours, self.growing, self.episode.row() if self.episode else None]

    @classmethod
    def read(cls, row: Row) -> "Line":
        *plain, usual, hours, growing, episode = row
        line = cls(*plain)
        line.usual, line.hours, line.growing = Usual(*usual), hours, growing
        line.episode = Episode(*episode) if episode else None
        return line


@dataclass(slots=True)
class Voice:
    """One workload, or whoever speaks without one."""

    namespace: str
    workload: str
    pod: str  # of one without a workload
    node: str
    first_ms: int
    last_ms: int
    index: int
    first_index: int
    gap_ms: float = 0.0
    rare: int = 0  # complaints that were said once: by these one can tell how often another new one is to come
    individual: int = 0  # of its new complaints, as many are told one by one
    usual: Usual = field(default_factory=Usual)
    growing: list[Row] = field(default_factory=list)  # minute, lines, complaints that are new
    novel: Usual = field(default_factory=Usual)
    episodes: dict[str, Episode] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)  # by pattern, the idlest first

    @classmethod
    def of(cls, who: Resource, first_ms: int, index: int) -> "Voice":
        pod, node = ("", "") if who.workload else (who.pod, who.node)
        return cls(who.namespace, who.workload, pod, node, first_ms, first_ms, index - 1, index)

    @property
    def name(self) -> str:
        return self.workload or self.pod or self.node or "unknown"

    @property
    def place(self) -> str:
        return f"{self.name} in {self.namespace}" if self.namespace else self.name

    def count(self, minute_ms: int, lines: int, novel: int) -> Row:
        for each in self.growing:
            if each[0] == minute_ms:
                each[1] += lines
                each[2] += novel
                return each
        self.growing.append([minute_ms, lines, novel])
        self.growing.sort(key=lambda each: each[0])
        return next(each for each in self.growing if each[0] == minute_ms)

    def close(self, before_ms: int, indices: dict[int, int]) -> None:
        while self.growing and self.growing[0][0] < before_ms:
            minute, lines, novel = self.growing.pop(0)
            index = indices.get(minute, self.index + 1)
            self.gap_ms *= _GAP_KEPT ** max(index - self.index, 1)
            for usual, count in (("usual", lines), ("novel", novel)):
                learned = getattr(self, usual).silent(index - self.index - 1)
                learned.learn(count)
                setattr(self, usual, learned)
            self.index = max(self.index, index)

    def row(self) -> Row:
        plain = [getattr(self, name) for name in self.__slots__[:11]]
        usual, novel = (([u.minutes, u.total, u.squares]) for u in (self.usual, self.novel))
        episodes = {kind: each.row() for kind, each in self.episodes.items()}
        return [*plain, usual, self.growing, novel, episodes, [[key, each.row()] for key, each in self.lines.items()]]

    @classmethod
    def read(cls, row: Row) -> "Voice":
        *plain, usual, growing, novel, episodes, lines = row
        voice = cls(*plain)
        voice.usual, voice.growing, voice.novel = Usual(*usual), growing, Usual(*novel)
        voice.episodes = {kind: Episode(*each) for kind, each in episodes.items()}
        voice.lines = {key: Line.read(each) for key, each in lines}
        return voice


def patience_ms(speaker: Voice | Line) -> float:
    """How long it may be silent; for ever when it has no rhythm, or one too slow to judge."""
    usual = speaker.usual
    if usual.minutes < STEADY_MINUTES or usual.mean < STEADY_RATE:
        return float("inf")
    return max(PATIENCE_MS, GAPS * speaker.gap_ms, ODDS * MINUTE_MS / usual.mean)


def sentence(voice: Voice, episode: Episode) -> str:
    since, said = clock(episode.start_ms), short(episode.text)
    if episode.kind == "pattern-burst":
        usual = f"{episode.usual:.1f}" if episode.usual < 10 else f"{episode.usual:.0f}"
        return f"{voice.place} logged `{said}` {times(episode.count)} in a minute since {since}; usual are {usual}"
    if episode.kind == "pattern-silence" and episode.count:
        return f"{voice.place} goes on without {episode.count} of its usual messages since {since}, such as `{said}`"
    if episode.kind == "pattern-silence":
        rate = f"{episode.usual:.0f}"
        return f"{voice.place} has said nothing since {since}; usual are {rate} lines a minute, and others go on"
    if episode.usual or episode.id in {e.id for e in voice.episodes.values()}:
        return f"{voice.place} logs {episode.count} new complaints a minute since {since}, such as `{said}`"
    heard = lasting((episode.start_ms - voice.first_ms) / MINUTE_MS)
    return f"{voice.place} logged `{said}` {times(episode.count)} since {since}; never before in {heard}"


class Crowd:
    """How far most of those who speak have come, so that one clock that is ahead makes nobody late.

    The lower median of the newest times of the speakers heard last; it stops when most of them stop.
    """

    def __init__(self, newest: dict[str, list[int]] | None = None, serial: int = 0, time_ms: int = 0) -> None:
        self._newest, self._serial, self.time_ms = newest or {}, serial, time_ms  # speaker -> time, when it was heard

    def hear(self, speaker: str, time_ms: int) -> None:
        self._serial += 1
        known = self._newest.pop(speaker, [0, 0])
        self._newest[speaker] = [max(known[0], time_ms), self._serial]
        while len(self._newest) > CROWD or next(iter(self._newest.values()))[1] < self._serial - HEARD:
            del self._newest[next(iter(self._newest))]

    def reach(self) -> int:
        """The time by now; it never goes back."""
        times = sorted(time_ms for time_ms, _ in self._newest.values())
        self.time_ms = max(self.time_ms, times[(len(times) - 1) // 2] if times else 0)
        return self.time_ms

    def row(self) -> Row:
        return [self._newest, self._serial, self.time_ms]
