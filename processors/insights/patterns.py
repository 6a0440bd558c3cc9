"""Log patterns against their own history: new, a burst, silence.

New is what a workload has never said, judged by how long it was heard; a burst is far more than a pattern's own recent
minutes, and than the same hour of earlier days; silence is longer than the speaker's own rhythm allows, while most
others go on. Both counts of the first kinds only grow, so they are told before their minute is over.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import orjson

from processors.insights.births import YOUNG, Births
from processors.insights.newness import ALMOST, CRITICAL, OPENS, judged, surprise
from processors.insights.usual import Usual
from processors.insights.voices import (
    GROWING,
    KNOWN,
    ODDS,
    PATIENCE_MS,
    Crowd,
    Episode,
    Line,
    Voice,
    patience_ms,
    sentence,
)
from processors.insights.wording import complaint, mentions, message, of_limit, short
from schemas.documents import MINUTE_MS, digest, minute_of
from schemas.evidence_id import minutes_id
from schemas.insight_settings import Detection
from schemas.insights import Sign, Symptom, SymptomKind
from schemas.records import ERROR, WARN, Resource
from schemas.summaries import Said

Json = dict[str, Any]

AGAIN_MS: Final = 30_000  # between two words about one symptom
NEW_MS: Final = 600_000  # so long after its first line a pattern is new, then it has a history of its own
LASTS_MS: Final = 3_600_000  # what has gone on for an hour is how things are
QUIET_MS: Final = 120_000  # a symptom is over when its lines have stopped for so long, or for 14/r, if that is more
SWEEP_MS: Final = 15_000  # between two looks at who has stopped

# -log10 of how probable it is by the speaker's own history. A thousand patterns judged each minute of a day are 1.4
# million judgements: a burst takes more than that.
BURST: Final = 7.0
VOLUME: Final = 12.0
NOVEL_A_MINUTE: Final = 0.2  # complaints new to a workload that are expected anyway: by more, one tells nothing
BURST_LINES, BURST_TIMES = 10, 3.0  # in a minute, and so many times the usual count
VOLUME_LINES, VOLUME_TIMES = 300, 10.0  # of lines that do not complain
BURST_HISTORY: Final = YOUNG  # minutes
INDIVIDUAL: Final = 5  # new complaints of a workload that are told one by one; the rest is one symptom
LOST_LINES: Final = 100  # that were due since: then the silence of a workload says more
OWN_SHARE: Final = 20  # one workload may hold a twentieth of all patterns
COMPARED: Final = 200  # of its patterns, those said last
NAME_CHARS: Final = 80
MINUTES_KEPT: Final = 180


class Patterns:
    def __init__(self, settings: Detection, births: Births | None = None) -> None:
        self._settings = settings
        self._births = births or Births()
        self._voices: dict[str, Voice] = {}  # the idlest first
        self._crowd = Crowd()
        self._indices: dict[int, int] = {}  # minutes in which anything was heard, numbered: gaps of all are no silence
        self._heard = 0
        self._lines = 0
        self._swept_ms = 0
        self._resumed_ms = 0
        self._first_ms = 0
        self._cluster = ""
        self.dropped: dict[str, int] = {}  # what was forgotten or came too late, by what

    def see(self, summary: Said, now_ms: int) -> Iterable[Sign]:
        self._cluster = summary.resource.cluster
        index = self._index(summary.minute_ms)
        voice = self._voice(summary, index)
        line = voice.lines.pop(summary.pattern, None)
        fresh = line is None
        line = line or self._new_line(summary, voice)
        voice.lines[summary.pattern] = line  # at the young end
        closed_ms = minute_of(self._crowd.time_ms) - (GROWING - 1) * MINUTE_MS
        line.close(closed_ms, self._indices)
        voice.close(closed_ms, self._indices)
        if refused := line.refuses(summary):
            self._drop(refused)
            return
        was_rare = line.severity > 0 and line.total == 1
        more = line.take(summary)
        expected = (voice.rare + 0.5) / max(line.before, 1.0)
        voice.rare += (line.severity > 0 and line.total == 1) - was_rare
        heard_ms = summary.first_ms - voice.first_ms
        novel = fresh and line.severity > 0 and heard_ms >= self._settings.learning_s * 1000
        minute = voice.count(summary.minute_ms, more, int(novel))
        if summary.first_ms > voice.last_ms:
            voice.gap_ms = max(voice.gap_ms, summary.first_ms - voice.last_ms)
        voice.last_ms = max(voice.last_ms, summary.last_ms)
        yield from self._judge(summary, voice, line, minute, expected)
        self._forget(voice)

    def _index(self, minute_ms: int) -> int:
        found = self._indices.get(minute_ms)
        if found is None:
            self._heard += 1
            found = self._indices[minute_ms] = self._heard
            if len(self._indices) > MINUTES_KEPT:
                del self._indices[next(iter(self._indices))]
        return found

    def _voice(self, said: Said, index: int) -> Voice:
        who = said.resource
        key = "/".join((who.namespace, who.workload) if who.workload else (who.namespace, "", who.pod or who.node))
        voice = self._voices.pop(key, None)
        if voice is None:
            voice = Voice.of(who, said.first_ms, index)
        self._voices[key] = voice
        self._crowd.hear(key, said.last_ms)
        self._first_ms = min(self._first_ms or said.first_ms, said.first_ms)
        return voice

    def _new_line(self, said: Said, voice: Voice) -> Line:
        """Everything is new to who begins to listen: only later it is news. What ends a process is at once."""
        self._lines += 1
        severity = complaint(said.severity, said.template or said.text)
        since_ms = self._first_ms if severity >= CRITICAL else voice.first_ms
        heard = (said.first_ms - since_ms) / MINUTE_MS
        line = Line.of(said, severity, heard, self._indices[said.minute_ms] - 1)
        line.usual = Usual().silent(line.index - voice.first_index)
        others = islice(reversed(voice.lines.values()), COMPARED)
        young = self._births.young(said.resource, said.first_ms) and severity < CRITICAL
        if (
            young
            or heard * 60 < self._settings.learning_s
            or any(other.severity and line.like(other) for other in others)
        ):
            line.before = KNOWN
        return line

    def _judge(self, said: Said, voice: Voice, line: Line, minute: list[Any], expected: float) -> Iterator[Sign]:
        count = next((each[1] for each in line.growing if each[0] == said.minute_ms), 0)
        if line.severity and line.before >= 0 and said.last_ms - line.first_ms < NEW_MS:
            self._newly(said, voice, line, expected)
        elif line.episode is None:
            self._burst(said, line, count)
        episode = line.episode
        if episode is None:
            yield from self._many(said, voice, line, minute)
            return
        if episode.kind == "pattern-new":
            episode.count = line.total
        elif count >= max(BURST_LINES, BURST_TIMES * episode.usual) / 2:
            episode.count = max(episode.count, count)
        else:
            return
        told_opens = episode.told_ms and episode.opens
        self._grade(line, episode)
        episode.last_ms = max(episode.last_ms, said.last_ms)
        due = episode.last_ms - episode.told_ms >= AGAIN_MS
        if due or (episode.opens and not told_opens):
            yield self._tell(voice, episode, line.name, line.said_severity, line.pod, line.node)

    def _newly(self, said: Said, voice: Voice, line: Line, expected: float) -> None:
        """A complaint that its workload has never made, unless such come all the time."""
        most = INDIVIDUAL * (2 if line.severity >= CRITICAL else 1)
        if line.episode is not None or voice.individual >= most:
            return
        if expected >= NOVEL_A_MINUTE and surprise(line) < OPENS:
            return
        voice.individual += 1
        line.episode = self._episode("pattern-new", said, said.pattern)
        line.episode.begin(line.first_ms)

    def _grade(self, line: Line, episode: Episode) -> None:
        """How much it says by now; what opens goes on to do so."""
        if episode.kind == "pattern-new":
            grave, strength = judged(line)
        else:
            odds = line.usual.surprise(episode.count)
            grave = line.severity >= ERROR
            strength = 0.8 + min(odds, 20.0) / 100 if grave else min(0.05 * odds, 0.75 if line.severity else 0.5)
        if of_limit(line.name):  # said by the kernel: the container's own signs tell how bad it is
            grave, strength = False, min(strength, ALMOST)
        episode.opens = episode.opens or grave
        episode.strength = round(max(episode.strength, strength), 3)

    def _burst(self, said: Said, line: Line, count: int) -> None:
        least, ratio, odds = (
            (BURST_LINES, BURST_TIMES, BURST) if line.severity else (VOLUME_LINES, VOLUME_TIMES, VOLUME)
        )
        if count < least:
            return
        passed = self._indices[said.minute_ms] - line.index - len(line.growing)
        usual = line.usual.silent(passed)
        if usual.minutes < BURST_HISTORY or count < ratio * max(usual.mean, line.peak(said.minute_ms)):
            return
        if usual.surprise(count) < odds:
            return
        line.usual, line.index = usual, line.index + max(passed, 0)
        line.episode = self._episode("pattern-burst", said, said.pattern)
        line.episode.usual = usual.mean
        line.episode.begin(said.minute_ms)

    def _many(self, said: Said, voice: Voice, line: Line, minute: list[Any]) -> Iterator[Sign]:
        """Where each line is a pattern of its own: one symptom, when there are far more of them than usual."""
        episode = voice.episodes.get("pattern-new")
        if episode is None:
            if minute[2] < BURST_LINES or voice.novel.minutes < BURST_HISTORY:
                return
            if minute[2] < BURST_TIMES * voice.novel.mean or voice.novel.surprise(minute[2]) < BURST:
                return
            episode = voice.episodes["pattern-new"] = self._episode("pattern-new", said, voice.name)
            episode.usual, episode.strength = voice.novel.mean, 0.6
            episode.begin(minute[0])
        if not line.severity or line.total > 1:
            return
        episode.count, episode.last_ms = max(episode.count, minute[2]), max(episode.last_ms, said.last_ms)
        if line.severity >= ERROR:
            episode.opens, episode.strength = True, 0.85
        if episode.last_ms - episode.told_ms >= AGAIN_MS:
            yield self._tell(voice, episode, "new complaints", line.said_severity, voice.pod, voice.node)

    def _episode(self, kind: SymptomKind, said: Said, about: str) -> Episode:
        who = said.resource
        mark = digest(kind, who.cluster, who.namespace, who.workload, about)
        start_ms = said.first_ms
        return Episode(
            kind, digest(mark, str(minute_of(start_ms))), mark, start_ms, 0, said.last_ms,
            minutes_id("log", said.pattern, start_ms, start_ms), said.text or said.template, list(said.at),
        )  # fmt: skip

    def advance(self, now_ms: int) -> Iterable[Sign]:
        """Judged by how far most speakers have come, not by `now_ms`: when all have stopped, nobody is silent."""
        time_ms = self._crowd.reach()
        if time_ms - self._swept_ms < SWEEP_MS:
            return
        if time_ms - self._swept_ms > PATIENCE_MS:  # a gap of all: from here on it shows who comes back
            self._resumed_ms = time_ms
        self._swept_ms = time_ms
        closed_ms = minute_of(time_ms) - (GROWING - 1) * MINUTE_MS
        for key, voice in list(self._voices.items()):
            voice.close(closed_ms, self._indices)
            for line in voice.lines.values():
                if line.growing:
                    line.close(closed_ms, self._indices)
                if line.episode is not None:
                    yield from self._over(voice, line, time_ms)
            if "pattern-new" in voice.episodes:
                yield from self._calmed(voice, time_ms)
            yield from self._silence(key, voice, time_ms)

    def _over(self, voice: Voice, line: Line, time_ms: int) -> Iterator[Sign]:
        """An episode ends when its lines stop, or when it has become how things are."""
        episode = line.episode
        assert episode is not None
        usual_ms = ODDS * (line.last_ms - line.first_ms) / max(line.total, 1)
        lasted = time_ms - episode.start_ms > (LASTS_MS if episode.opens else NEW_MS)
        if not lasted and time_ms - episode.last_ms <= min(max(QUIET_MS, usual_ms), NEW_MS):
            return
        yield self._tell(voice, episode, line.name, line.said_severity, line.pod, line.node, ended=True)
        line.episode = None
        if episode.kind == "pattern-new":
            voice.individual -= 1
            line.before = KNOWN
        elif lasted:
            line.usual = Usual(BURST_HISTORY, BURST_HISTORY * episode.count, BURST_HISTORY * episode.count**2)

    def _calmed(self, voice: Voice, time_ms: int) -> Iterator[Sign]:
        episode = voice.episodes["pattern-new"]
        if time_ms - episode.last_ms > QUIET_MS or time_ms - episode.start_ms > LASTS_MS:
            del voice.episodes["pattern-new"]
            yield self._tell(voice, episode, "new complaints", WARN, voice.pod, voice.node, ended=True)

    def _silence(self, key: str, voice: Voice, time_ms: int) -> Iterator[Sign]:
        """Of all that somebody says, or of some of it while the rest goes on."""
        episode, quiet_ms = voice.episodes.get("silence"), time_ms - max(voice.last_ms, self._resumed_ms)
        patience = patience_ms(voice)
        if time_ms - voice.last_ms > LASTS_MS:
            del self._voices[key]
            self._lines -= len(voice.lines)
            if episode:
                yield self._tell(voice, episode, "all lines", 0, voice.pod, voice.node, ended=True)
            return
        if episode is None and patience < quiet_ms:
            episode = voice.episodes["silence"] = self._stopped(voice, voice.name)
        elif episode and quiet_ms <= patience:
            del voice.episodes["silence"]
            yield self._tell(voice, episode, "all lines", 0, voice.pod, voice.node, ended=True)
            episode = None
        if episode:
            episode.last_ms, episode.usual = time_ms, voice.usual.mean
            lost = voice.usual.mean * quiet_ms / MINUTE_MS
            episode.strength = 0.7 if lost >= LOST_LINES else 0.5  # replicas take over, jobs end: never by itself
            if time_ms - episode.told_ms >= AGAIN_MS:
                yield self._tell(voice, episode, "all lines", 0, voice.pod, voice.node)
        else:
            yield from self._fallen_silent(voice)

    def _fallen_silent(self, voice: Voice) -> Iterator[Sign]:
        """Patterns that complain may stop: that is what one hopes for."""
        episode = voice.episodes.get("stopped")
        stopped = [
            line for line in voice.lines.values()
            if not line.severity and patience_ms(line) < voice.last_ms - line.last_ms < LASTS_MS
        ]  # fmt: skip
        if not stopped:
            if episode:
                del voice.episodes["stopped"]
                yield self._tell(voice, episode, "usual messages", 0, voice.pod, voice.node, ended=True)
            return
        first = min(stopped, key=lambda line: line.last_ms)
        if episode is None:
            episode = voice.episodes["stopped"] = self._stopped(voice, f"{voice.name}/patterns")
            episode.text, episode.strength = first.name, 0.3
            episode.begin(first.last_ms)
        episode.last_ms, episode.count = voice.last_ms, len(stopped)
        if episode.last_ms - episode.told_ms >= AGAIN_MS:
            yield self._tell(voice, episode, "usual messages", 0, voice.pod, voice.node)

    def _stopped(self, voice: Voice, about: str) -> Episode:
        mark = digest("pattern-silence", self._cluster, voice.namespace, about)
        pattern, line = next(reversed(voice.lines.items()))
        return Episode(
            "pattern-silence", digest(mark, str(minute_of(voice.last_ms))), mark, voice.last_ms, 0, voice.last_ms,
            minutes_id("log", pattern, line.last_ms, line.last_ms), line.name, [],
        )  # fmt: skip

    def _tell(
        self, voice: Voice, episode: Episode, name: str, severity: int, pod: str, node: str, *, ended: bool = False
    ) -> Symptom:
        episode.told_ms = episode.last_ms
        return Symptom(
            id=episode.id,
            fingerprint=episode.fingerprint,
            kind=episode.kind,
            resource=Resource(self._cluster, voice.namespace, voice.workload, pod, "", node),
            start_ms=episode.start_ms,
            seen_ms=max(episode.last_ms, self._crowd.time_ms),
            last_ms=episode.last_ms,
            ended=ended,
            strength=episode.strength,
            opens=episode.opens,
            severity=severity,
            name=short(message(name), NAME_CHARS),
            text=sentence(voice, episode),
            evidence=episode.evidence,
            at=tuple(episode.at),
            mentions=mentions(episode.text, own=voice.workload) if episode.kind != "pattern-silence" else (),
        )

    def _forget(self, voice: Voice) -> None:
        """Whoever says something new with each line forgets his own lines first, then the idlest are forgotten."""
        most = self._settings.most_patterns
        while len(voice.lines) > max(most // OWN_SHARE, 1):
            self._forget_idlest(voice)
        while self._lines > most:
            key, idlest = next(iter(self._voices.items()))
            self._forget_idlest(idlest)
            if not idlest.lines:
                del self._voices[key]

    def _forget_idlest(self, voice: Voice) -> None:
        gone = voice.lines.pop(next(iter(voice.lines)))
        voice.individual -= gone.episode is not None and gone.episode.kind == "pattern-new"
        self._lines -= 1
        self._drop("patterns")

    def _drop(self, what: str, count: int = 1) -> None:
        self.dropped[what] = self.dropped.get(what, 0) + count

    def dump(self) -> Json:
        plain = {name: getattr(self, name) for name in _PLAIN}
        rows = {key: voice.row() for key, voice in self._voices.items()}
        state = {**plain, "indices": list(self._indices.items()), "crowd": self._crowd.row(), "voices": rows}
        copied: Json = orjson.loads(orjson.dumps(state))
        return copied

    @classmethod
    def load(cls, dumped: Json, settings: Detection, births: Births | None = None) -> "Patterns":
        patterns, kept = cls(settings, births), orjson.loads(orjson.dumps(dumped))
        for name in _PLAIN:
            setattr(patterns, name, kept[name])
        patterns._indices = dict(kept["indices"])
        patterns._crowd = Crowd(*kept["crowd"])
        patterns._voices = {key: Voice.read(row) for key, row in kept["voices"].items()}
        return patterns


_PLAIN: Final = ("dropped", "_cluster", "_heard", "_lines", "_swept_ms", "_resumed_ms", "_first_ms")
