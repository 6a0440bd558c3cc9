"""Kubernetes events, restarts and alerts: what says by itself that something is wrong.

One symptom for a reason and an owner, however many pods: a thousand that restart at once are one. What is ordinary for
something that starts, and passes, is not told; `reasons.py` has the thresholds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from processors.insights.births import Births
from processors.insights.reasons import Rule, changes, image_of, rule_of
from processors.insights.voices import Crowd
from processors.insights.wording import clock, mentions, short, times
from schemas.documents import MINUTE_MS, digest, minute_of
from schemas.insight_settings import Detection
from schemas.insights import Change, Sign, Symptom
from schemas.records import UNKNOWN, WARN, Resource
from schemas.summaries import Fired, Happened, Notified, Seen

Json = dict[str, Any]
Row = list[Any]

AGAIN_MS: Final = 30_000
LOOK_MS: Final = 5_000  # between two looks at what is over
# client-go lets 25 events of a source about an object pass, then one each five minutes (EventSourceObjectSpamFilter).
QUIET_MS: Final = 360_000
SAMPLE: Final = 64  # events that are held of one symptom; of more, a sample by hash tells how many there are
MOST_TROUBLES: Final = 10_000
MOST_ALARMS: Final = 20_000
MOST_OWNERS: Final = 10_000
IMAGES: Final = 8  # of a workload that are remembered
HASHES: Final = 1 << 80  # of `digest`
# Alertmanager's defaults: a group is notified again after 4 h (repeat_interval), of news after 5 min (group_interval).
REPEATED_MS: Final = 4 * 3_600_000 + 600_000
GROUP_MS: Final = 300_000
ALWAYS: Final = frozenset({"Watchdog", "InfoInhibitor", "DeadMansSwitch", "DeadMansSnitch"})
CRITICAL: Final = 18  # as `processors/decode/severity.py` reads it
WEAKER, WEAK, LASTING, PAGING = (
    0.3,
    0.6,
    0.85,
    0.9,
)  # an alert of information, a warning, one that lasts, a critical one


@dataclass(slots=True)
class Trouble:
    """A reason at an owner, as long as it goes on."""

    who: Row  # cluster, namespace, workload, pod, node: as far as all of its events agree
    about: str  # whom, in words
    reason: str
    kind: Literal["event", "restart"]
    strength: float
    first_ms: int
    last_ms: int
    evidence: str
    text: str
    at: str
    id: str = ""  # once it is told
    told_ms: int = 0
    opens: bool = False
    pods: bool = False
    seen: dict[str, Row] = field(default_factory=dict)  # digest of a uid: object, times before, times, first, last

    def take(self, happened: Happened) -> None:
        key = digest(happened.uid)
        seen = happened.observations
        known = self.seen.setdefault(
            key, [happened.object_name, min(each.times for each in seen) - 1, 0, seen[0].time_ms, 0]
        )
        known[1] = min(known[1], *(each.times - 1 for each in seen))
        known[2] = max(known[2], *(each.times for each in seen))
        known[3] = min(known[3], *(each.time_ms for each in seen))
        known[4] = max(known[4], *(each.time_ms for each in seen))
        if len(self.seen) > SAMPLE:
            del self.seen[max(self.seen)]
        self.first_ms = min(self.first_ms, *(each.time_ms for each in seen))
        newest = max(seen, key=lambda each: (each.time_ms, each.times))
        if newest.time_ms >= self.last_ms:
            self.last_ms, self.text, self.at = newest.time_ms, newest.text, newest.at

    def size(self) -> tuple[int, int]:
        """Objects and times; of more than the sample holds, as its densest hash tells (k minimum values)."""
        scale = 1.0
        if len(self.seen) >= SAMPLE:
            scale = max((SAMPLE - 1) * HASHES / max(int(max(self.seen), 16), 1) / SAMPLE, 1.0)
        objects = len({row[0] for row in self.seen.values()})
        counted = sum(row[2] - row[1] for row in self.seen.values())
        return round(objects * scale), round(counted * scale)

    def opened(self, rule: Rule) -> bool:
        objects, counted = self.size()
        if not rule.opens or counted < rule.open_times:
            return False
        spans: dict[str, tuple[int, int, int]] = {}
        for name, before, seen, first_ms, last_ms in self.seen.values():
            known = spans.get(name, (first_ms, last_ms, 0))
            spans[name] = (min(known[0], first_ms), max(known[1], last_ms), known[2] + seen - before)
        longest_ms = max((last - first for first, last, often in spans.values() if often >= rule.open_each), default=-1)
        return objects >= rule.open_objects or longest_ms >= rule.open_s * 1000

    def told(self, rule: Rule) -> bool:
        """Whether it says something beside others."""
        counted = max(row[2] - row[1] for row in self.seen.values()) if rule.tell_each else self.size()[1]
        return counted >= rule.tell_times and self.last_ms - self.first_ms >= rule.tell_s * 1000


@dataclass(slots=True)
class Alarm:
    """An alert from its start to its end."""

    start_ms: int
    sent_ms: int  # the newest notification
    over: bool  # or never of interest
    told_ms: int = 0
    opens: bool = False
    lasting: bool = False  # it opens when it has lasted
    symptom: Json = field(default_factory=dict)  # as told


class States:
    def __init__(self, settings: Detection, births: Births | None = None) -> None:
        self._settings = settings
        self._births = births or Births()
        self._crowd = Crowd()
        self._now_ms = 0
        self._time_ms = 0
        self._first_ms = 0
        self._looked_ms = 0
        self._troubles: dict[str, Trouble] = {}  # the idlest first
        self._alarms: dict[str, Alarm] = {}
        self._owners: dict[str, Row] = {}  # minute of the last change told, images
        self.dropped: dict[str, int] = {}

    def see(self, summary: Happened | Fired, now_ms: int) -> Iterable[Sign]:
        return self._happened(summary) if isinstance(summary, Happened) else self._fired(summary)

    def _hear(self, who: str, time_ms: int) -> None:
        self._crowd.hear(who, time_ms)
        self._first_ms = min(self._first_ms or time_ms, time_ms)

    # Events

    def _happened(self, told: Happened) -> Iterator[Sign]:
        if not told.observations:
            return
        newest = max(told.observations, key=lambda each: (each.time_ms, each.times))
        self._hear(told.uid, newest.time_ms)
        if change := self._change(told, newest.time_ms, newest.text):
            yield change
        rule = rule_of(told.reason, newest.text, warning=newest.warning, of_node=told.object_kind == "Node")
        if rule is None:
            return
        key, trouble = self._trouble(told, rule, newest)
        trouble.take(told)
        if not rule.grave and self._births.young(told.resource, newest.time_ms):
            return  # what goes on is told when it is no longer young
        opened, trouble.opens = trouble.opens, trouble.opens or trouble.opened(rule)
        tell = trouble.told_ms or trouble.opens or trouble.told(rule)
        if tell and (trouble.last_ms - trouble.told_ms >= AGAIN_MS or opened != trouble.opens):
            yield self._tell(key, trouble)

    def _trouble(self, told: Happened, rule: Rule, newest: Seen) -> tuple[str, Trouble]:
        who, about = told.resource, _about(told)
        key = digest(told.reason, rule.kind, str(rule.tell_times), who.cluster, who.namespace, about)
        trouble = self._troubles.pop(key, None)
        if trouble is None:
            trouble = Trouble(
                [*who[:4], who.node], about, told.reason, rule.kind, rule.strength, newest.time_ms, 0, _evidence(told),
                newest.text, newest.at, pods=told.object_kind == "Pod",
            )  # fmt: skip
        self._troubles[key] = trouble
        _bound(self._troubles, MOST_TROUBLES, self.dropped, "troubles")
        if trouble.who[3] != who.pod:
            trouble.who[3] = ""
        if trouble.who[4] != who.node:
            trouble.who[4] = ""
        return key, trouble

    def _tell(self, key: str, trouble: Trouble, *, ended: bool = False) -> Symptom:
        trouble.told_ms = trouble.last_ms
        trouble.id = trouble.id or digest(key, str(minute_of(trouble.first_ms)))
        objects, counted = trouble.size()
        cluster, namespace, workload, pod, node = trouble.who
        many = f"{objects} pods of " if trouble.pods and objects > 1 else ""
        where = f" in {namespace}" if namespace else ""
        did = "restarted" if trouble.kind == "restart" else "had trouble"
        often = f"{times(counted)} since {clock(trouble.first_ms)}"
        said = f"{many}{trouble.about}{where} {did} ({trouble.reason}), {often}"
        return Symptom(
            id=trouble.id,
            fingerprint=key,
            kind=trouble.kind,
            resource=Resource(cluster, namespace, workload, pod, "", node),
            start_ms=trouble.first_ms,
            seen_ms=max(trouble.last_ms, self._time_ms),
            last_ms=trouble.last_ms,
            ended=ended,
            strength=round(0.99 - 0.19 / max(objects, 1), 3) if trouble.opens else trouble.strength,
            opens=trouble.opens,
            severity=WARN,
            name=trouble.reason,
            text=f"{said}: {short(trouble.text)}",
            evidence=trouble.evidence,
            at=(trouble.at,) if trouble.at else (),
            mentions=mentions(trouble.text, own=workload),
        )

    def _change(self, told: Happened, time_ms: int, text: str) -> Change | None:
        """One for an owner and minute. An image counts when it is another one than before."""
        if not changes(told.reason, text):
            return None
        about = _about(told)
        key = digest(told.resource.namespace, about)
        owner = self._owners.pop(key, [0, []])
        self._owners[key] = owner
        _bound(self._owners, MOST_OWNERS, self.dropped, "owners")
        if told.reason == "Pulling":
            image = image_of(text)
            if image in owner[1]:
                return None
            owner[1] = [*owner[1], image][-IMAGES:]
            if len(owner[1]) == 1:  # the first one that we hear of
                return None
        if minute_of(time_ms) <= owner[0]:
            return None
        owner[0] = minute_of(time_ms)
        where = f" in {told.resource.namespace}" if told.resource.namespace else ""
        return Change(
            id=digest("change", key, str(owner[0])),
            resource=told.resource,
            time_ms=time_ms,
            text=f"{told.reason} of {about}{where}: {short(text)}",
            evidence=_evidence(told),
        )

    # Alerts

    def _fired(self, told: Fired) -> Iterator[Sign]:
        for each in sorted(told.observations, key=lambda o: (o.sent_ms, not o.firing)):
            self._hear(told.fingerprint, each.sent_ms)
            yield from self._notified(told, each)

    def _notified(self, told: Fired, each: Notified) -> Iterator[Sign]:
        key = told.document.id  # of its fingerprint and start
        alarm = self._alarms.pop(key, None)
        if alarm is None:
            before = each.time_ms < self._first_ms - GROUP_MS
            alarm = Alarm(each.time_ms, each.sent_ms, over=told.name in ALWAYS or before or not each.firing)
        self._alarms[key] = alarm
        _bound(self._alarms, MOST_ALARMS, self.dropped, "alerts")
        alarm.sent_ms = max(alarm.sent_ms, each.sent_ms)
        if alarm.over:
            return
        alarm.over = not each.firing
        opened, alarm.opens = alarm.opens, alarm.opens or self._pages(told, alarm, alarm.sent_ms)
        if alarm.over or opened != alarm.opens or each.sent_ms - alarm.told_ms >= AGAIN_MS:
            alarm.told_ms = each.sent_ms
            symptom = _alert(told, each, alarm)
            alarm.symptom = _plain(symptom)
            yield symptom

    def _pages(self, told: Fired, alarm: Alarm, time_ms: int) -> bool:
        """Critical at once; a warning when it has lasted, and so does what nobody has graded."""
        alarm.lasting = told.severity >= WARN or (told.severity == UNKNOWN and "severity" not in told.labels)
        lasted_ms = time_ms - alarm.start_ms
        return told.severity >= CRITICAL or (alarm.lasting and lasted_ms >= self._settings.alert_lasts_s * 1000)

    # Time

    def advance(self, now_ms: int) -> Iterable[Sign]:
        """Time goes on with ticks, too, but not by a jump: that is one clock that is ahead."""
        step_ms = now_ms - self._now_ms if self._now_ms else 0
        self._now_ms = max(self._now_ms, now_ms)
        drifted = self._time_ms + step_ms if step_ms <= MINUTE_MS else self._time_ms
        self._time_ms = min(max(self._crowd.reach(), drifted), self._now_ms)
        if self._time_ms - self._looked_ms < LOOK_MS:
            return
        self._looked_ms = self._time_ms
        for key, trouble in list(self._troubles.items()):
            if self._time_ms - trouble.last_ms > QUIET_MS:
                del self._troubles[key]
                if trouble.told_ms:
                    yield self._tell(key, trouble, ended=True)
            elif 0 < trouble.told_ms < trouble.last_ms and self._time_ms - trouble.told_ms >= AGAIN_MS:
                yield self._tell(key, trouble)
        for key, alarm in list(self._alarms.items()):
            yield from self._still(key, alarm)

    def _still(self, key: str, alarm: Alarm) -> Iterator[Sign]:
        """An alert that lasts opens; one that is neither repeated nor resolved is over, whoever lost the word of it."""
        if self._time_ms - alarm.sent_ms > REPEATED_MS:
            del self._alarms[key]
            if alarm.symptom and not alarm.over:
                yield _read(alarm.symptom, ended=True, seen_ms=self._time_ms)
            return
        waits = alarm.lasting and not alarm.over and not alarm.opens
        if waits and self._time_ms - alarm.start_ms >= self._settings.alert_lasts_s * 1000:
            alarm.opens = True
            alarm.symptom |= {"opens": True, "strength": LASTING, "seen_ms": self._time_ms}
            yield _read(alarm.symptom)

    def dump(self) -> Json:
        state = {name: getattr(self, name) for name in _PLAIN}
        state |= {"crowd": self._crowd.row(), "troubles": _rows(self._troubles), "alarms": _rows(self._alarms)}
        copied: Json = orjson.loads(orjson.dumps(state))
        return copied

    @classmethod
    def load(cls, dumped: Json, settings: Detection, births: Births | None = None) -> "States":
        states, kept = cls(settings, births), orjson.loads(orjson.dumps(dumped))
        for name in _PLAIN:
            setattr(states, name, kept[name])
        states._crowd = Crowd(*kept["crowd"])
        states._troubles = {key: Trouble(*row) for key, row in kept["troubles"].items()}
        states._alarms = {key: Alarm(*row) for key, row in kept["alarms"].items()}
        return states


def _alert(told: Fired, each: Notified, alarm: Alarm) -> Symptom:
    who = told.resource
    about = who.workload or who.pod or who.node
    where = f" in {who.namespace}" if who.namespace else ""
    whom = f" for {about}{where}" if about else where
    since = clock(alarm.start_ms)
    state = f"was firing from {since} to {clock(each.time_ms)}" if alarm.over else f"has been firing since {since}"
    return Symptom(
        id=digest("alert", who.cluster, told.fingerprint, str(minute_of(alarm.start_ms))),
        fingerprint=digest("alert", who.cluster, told.fingerprint),
        kind="alert",
        resource=who,
        start_ms=alarm.start_ms,
        seen_ms=each.sent_ms,
        last_ms=each.sent_ms,
        ended=alarm.over,
        strength=PAGING if alarm.opens else WEAK if alarm.lasting else WEAKER,
        opens=alarm.opens,
        severity=told.severity,
        name=told.name,
        text=f"Alert {told.name}{whom} {state}: {short(each.text)}",
        evidence=_evidence(told),
        at=(each.at,),
        mentions=mentions(each.text, told.labels, own=who.workload),
        runbook_url=each.runbook_url,
    )


def _bound(held: dict[str, Any], most: int, dropped: dict[str, int], what: str) -> None:
    """The idlest go; they are counted."""
    while len(held) > most:
        del held[next(iter(held))]
        dropped[what] = dropped.get(what, 0) + 1


def _rows(held: Mapping[str, Trouble | Alarm]) -> dict[str, Row]:
    return {key: [getattr(each, name) for name in each.__slots__] for key, each in held.items()}


_PLAIN: Final = ("_now_ms", "_time_ms", "_first_ms", "_looked_ms", "_owners", "dropped")


def _about(told: Happened) -> str:
    """Whom it is about: the owner of a pod, a node, or the object itself."""
    who = told.resource
    return who.workload or (who.pod or who.node) or f"{told.object_kind}/{told.object_name}"


def _evidence(told: Happened | Fired) -> str:
    kind = "event" if isinstance(told, Happened) else "alert"
    return f"{kind}-{told.document.day.replace('.', '')}-{told.document.id}"


def _plain(symptom: Symptom) -> Json:
    """As JSON will give it back."""
    values = {name: getattr(symptom, name) for name in Symptom.__slots__}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _read(row: Json, **changed: Any) -> Symptom:
    who = Resource(*row["resource"])
    return Symptom(**{**row, "resource": who, "at": tuple(row["at"]), "mentions": tuple(row["mentions"]), **changed})
