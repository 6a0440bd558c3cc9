"""Series that reported at their own rhythm and stopped, while others of their cluster go on. Pure.

Silence is counted in time that the cluster was heard in, not by the clock: when everything is silent, or a clock jumps
ahead, nobody is missing. What falls silent at once is one symptom.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, Self

from schemas.documents import MINUTE_MS, digest
from schemas.evidence_id import minutes_id
from schemas.insights import Symptom
from schemas.records import WARN, Resource

Json = dict[str, Any]

SILENT_MS: Final = 5 * MINUTE_MS  # as in Prometheus, where a series without samples for five minutes is stale
SILENT: Final = 4.0  # usual intervals, for those that report less often than each minute
GONE_MS: Final = 60 * MINUTE_MS  # silent for so long: not expected any more
SHARE: Final = 0.1  # of the points expected: below, the source of all of them is silent, and nobody is missing
LOOK_MS: Final = MINUTE_MS
LEAP_MS: Final = 2 * MINUTE_MS  # the most that one look counts
APART: Final = 3  # things that fall silent at once are told one by one; more of them are one symptom
STRENGTH: Final = 0.2  # pods come and go, and their series with them: never an incident by itself


class Expected:
    """A series that is to come again."""

    __slots__ = ("heard_ms", "interval_ms", "silence")

    def __init__(self, interval_ms: float, heard_ms: int, silence: str = "") -> None:
        self.interval_ms, self.heard_ms = interval_ms, heard_ms  # heard: how long the cluster had lived then
        self.silence = silence  # id of the symptom that tells its silence; it is not expected until it comes again


class Silent:
    """What fell silent at once."""

    __slots__ = ("back", "first", "lived_ms", "name", "resource", "seen_ms", "series", "start_ms")

    def __init__(
        self, resource: Resource, first: str, name: str, start_ms: int, seen_ms: int, lived_ms: int, series: int,
        back: int = 0,
    ) -> None:  # fmt: skip
        self.resource, self.first, self.name = resource, first, name
        self.start_ms, self.seen_ms, self.lived_ms = start_ms, seen_ms, lived_ms
        self.series, self.back = series, back  # how many, and how many of them were heard again


class Silences:
    """Who is expected in one cluster, and who is missing."""

    def __init__(self) -> None:
        self._expected: dict[str, Expected] = {}
        self._silent: dict[str, Silent] = {}
        self._looked_ms = self._lived_ms = 0
        self._heard = 0  # points since the last look
        self._due = 0.0  # points that a minute should bring

    def expect(self, series: str, interval_ms: float) -> None:
        """A series is known by now, with the interval that is usual for it."""
        known = self._expected.get(series)
        if known is None:
            self._expected[series] = Expected(interval_ms, self._lived_ms)
        else:
            known.interval_ms = interval_ms

    def forget(self, series: str) -> None:
        self._expected.pop(series, None)

    def heard(self, series: str, now_ms: int) -> list[Symptom]:
        """A point of a new minute has come."""
        self._heard += 1
        known = self._expected.get(series)
        if known is None:
            return []
        known.heard_ms = self._lived_ms
        if not known.silence:
            return []
        silent, key = self._silent.get(known.silence), known.silence
        known.silence = ""
        if silent is None:
            return []
        silent.back += 1
        return [self._end(key, now_ms)] if silent.back * 2 >= silent.series else []

    def advance(self, now_ms: int, who: Callable[[str], tuple[Resource, str]]) -> tuple[list[str], list[Symptom]]:
        """Once a minute: what has fallen silent, and what is to be told of it. `who`: whose a series is, its name."""
        passed = now_ms - self._looked_ms
        if passed < LOOK_MS:
            return [], []
        heard, self._heard, self._looked_ms = self._heard, 0, now_ms
        if heard < SHARE * self._due * min(passed, LEAP_MS) / MINUTE_MS or not heard:
            return [], []
        self._lived_ms += min(passed, LEAP_MS)
        gone = [key for key, silent in self._silent.items() if self._lived_ms - silent.lived_ms >= GONE_MS]
        signs = [self._end(key, now_ms) for key in gone]
        self._due, fallen = 0.0, []
        for series, known in self._expected.items():
            if known.silence:
                continue
            self._due += min(1.0, MINUTE_MS / known.interval_ms) if known.interval_ms else 1.0
            if self._lived_ms - known.heard_ms > max(SILENT_MS, SILENT * known.interval_ms):
                fallen.append(series)
        return fallen, signs + self._tell({series: who(series) for series in fallen}, now_ms)

    def _tell(self, fallen: Mapping[str, tuple[Resource, str]], now_ms: int) -> list[Symptom]:
        groups: dict[Resource, list[str]] = {}
        for series, (resource, _) in fallen.items():
            groups.setdefault(resource, []).append(series)
        if len(groups) > APART:
            # What all of them share: a node, a namespace, or nothing but the cluster.
            shared = (values[0] if len(set(values)) == 1 else "" for values in zip(*groups, strict=True))
            groups = {Resource(*shared): list(fallen)}
        signs = []
        for resource, some in groups.items():
            start_ms = now_ms - (self._lived_ms - self._expected[some[0]].heard_ms)
            key = digest("metric-missing", *resource, str(start_ms // MINUTE_MS))
            for series in some:
                self._expected[series].silence = key
            if key in self._silent:  # told already: more of the same
                self._silent[key].series += len(some)
                continue
            silent = Silent(resource, some[0], fallen[some[0]][1], start_ms, now_ms, self._lived_ms, len(some))
            self._silent[key] = silent
            signs.append(_symptom(key, silent, now_ms, ended=False))
        return signs

    def _end(self, key: str, now_ms: int) -> Symptom:
        return _symptom(key, self._silent.pop(key), now_ms, ended=True)

    def dump(self) -> Json:
        return {
            "expected": [[key, each.interval_ms, each.heard_ms, each.silence] for key, each in self._expected.items()],
            "silent": [[key, list(each.resource), *PARTS(each)] for key, each in self._silent.items()],
            "rest": [self._looked_ms, self._lived_ms, self._heard, self._due],
        }

    @classmethod
    def load(cls, dumped: Json) -> Self:
        silences = cls()
        for key, *rest in dumped["expected"]:
            silences._expected[key] = Expected(*rest)
        for key, resource, *rest in dumped["silent"]:
            silences._silent[key] = Silent(Resource(*resource), *rest)
        silences._looked_ms, silences._lived_ms, silences._heard, silences._due = dumped["rest"]
        return silences


PARTS: Final = attrgetter("first", "name", "start_ms", "seen_ms", "lived_ms", "series", "back")


def _symptom(key: str, silent: Silent, now_ms: int, *, ended: bool) -> Symptom:
    who = silent.resource
    of = who.entity if who.entity != "unknown/" else f"namespace/{who.namespace}" if who.namespace else "the cluster"
    which = silent.name if silent.series == 1 else f"{silent.series} series, {silent.name} among them,"
    return Symptom(
        id=key,
        fingerprint=digest("metric-missing", who.cluster, who.namespace, who.workload or who.node),
        kind="metric-missing",
        resource=who,
        start_ms=silent.start_ms,
        seen_ms=silent.seen_ms,
        last_ms=now_ms,
        ended=ended,
        strength=STRENGTH,
        opens=False,
        severity=WARN,
        name=silent.name,
        text=f"{which} of {of} came no more" if not ended else f"{which} of {of} came again, or is not expected",
        evidence=minutes_id("metric", silent.first, silent.start_ms, silent.start_ms),
    )
