"""Kubernetes events, restarts and alerts: what says by itself that something is wrong.

One symptom for a reason and an owner, however many pods: a thousand that restart at once are one. What is ordinary for
something that starts, and passes, is not told; `reasons.py` has the thresholds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from processors.insights.reasons import Rule, changes, image_of, rule_of
from processors.insights.voices import Crowd
from processors.insights.wording import clock, mentions, short, times
from schemas.documents import MINUTE_MS, digest, minute_of
from schemas.evidence_id import dated_id
from schemas.insight_settings import Detection
from schemas.insights import Change, Sign, Symptom
from schemas.records import FATAL, UNKNOWN, WARN, Resource
from schemas.summaries import Fired, Happened, Notified

Json = dict[str, Any]
Row = list[Any]

AGAIN_MS: Final = 30_000
# client-go lets 25 events of a source about an object pass, then one each five minutes (EventSourceObjectSpamFilter).
QUIET_MS: Final = 360_000
SAMPLE: Final = 64  # events that are held of one symptom; of more, a sample by hash tells how many there are
MOST_TROUBLES: Final = 10_000
MOST_ALERTS: Final = 20_000
MOST_OWNERS: Final = 10_000
IMAGES: Final = 8  # of a workload that are remembered
HASHES: Final = 1 << 80  # of `digest`
# Alertmanager's defaults: a group is notified again after 4 h (repeat_interval), of news after 5 min (group_interval).
REPEATED_MS: Final = 4 * 3_600_000 + 600_000
GROUP_MS: Final = 300_000
ALWAYS: Final = frozenset({"Watchdog", "InfoInhibitor", "DeadMansSwitch", "DeadMansSnitch"})
CRITICAL: Final = 18  # as `processors/decode/severity.py` reads it


@dataclass(slots=True)
class Trouble:
    """A reason at an owner, as long as it goes on."""

    who: Row  # cluster, namespace, workload, pod, node: as far as all of its events agree
    about: str  # whom, in words
    reason: str
    probe: str
    first_ms: int
    last_ms: int
    evidence: str
    text: str
    at: str
    told_ms: int = 0
    opens: bool = False
    pods: bool = False
    seen: dict[str, Row] = field(default_factory=dict)  # digest of a uid: object, times before, times, first, last

    def take(self, happened: Happened, start_ms: int) -> None:
        key = digest(happened.uid)
        seen = [each for each in happened.observations if each.time_ms >= start_ms]
        if not seen:
            return
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
        spans: dict[str, tuple[int, int]] = {}
        for name, _, _, first_ms, last_ms in self.seen.values():
            known = spans.get(name, (first_ms, last_ms))
            spans[name] = (min(known[0], first_ms), max(known[1], last_ms))
        longest_ms = max(last_ms - first_ms for first_ms, last_ms in spans.values())
        return objects >= rule.open_objects or longest_ms >= rule.open_s * 1000


class States:
    def __init__(self, settings: Detection) -> None:
        self._settings = settings
        self._crowd = Crowd()
        self._now_ms = 0
        self._time_ms = 0
        self._first_ms = 0
        self._troubles: dict[str, Trouble] = {}  # the idlest first
        self._alerts: dict[str, Row] = {}
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
        rule = rule_of(told.reason, newest.text, warning=newest.warning)
        if rule is None:
            return
        about = _about(told)
        key = digest(told.reason, rule.kind, str(rule.tell_times), told.resource.namespace, about)
        trouble = self._troubles.pop(key, None)
        first = min(told.observations, key=lambda each: (each.time_ms, each.times))
        if trouble is None:
            who = [*told.resource[:4], told.resource.node]
            evidence = dated_id("event", told.document.id, first.time_ms)
            trouble = Trouble(who, about, told.reason, "", first.time_ms, 0, evidence, newest.text, newest.at)
        self._troubles[key] = trouble
        trouble.evidence = trouble.evidence if trouble.told_ms else _evidence(told)
        trouble.pods = told.object_kind == "Pod"
        trouble.take(told, trouble.first_ms)
        for place in (3, 4):
            if trouble.who[place] != (told.resource.pod, told.resource.node)[place - 3]:
                trouble.who[place] = ""
        _, counted = trouble.size()
        lasted_s = (trouble.last_ms - trouble.first_ms) / 1000
        opened = trouble.opens
        trouble.opens = opened or trouble.opened(rule)
        tell = trouble.told_ms or (counted >= rule.tell_times and lasted_s >= rule.tell_s) or trouble.opens
        due = trouble.last_ms - trouble.told_ms >= AGAIN_MS or opened != trouble.opens
        if tell and due:
            yield self._tell(key, trouble, rule)
        self._bound(self._troubles, MOST_TROUBLES, "troubles")

    def _tell(self, key: str, trouble: Trouble, rule: Rule | None, *, ended: bool = False) -> Symptom:
        trouble.told_ms = trouble.last_ms
        objects, counted = trouble.size()
        kind = rule.kind if rule else trouble.probe
        trouble.probe = kind
        strength = rule.strength if rule else 0.5
        if trouble.opens:
            strength = 0.8 + 0.19 * (1 - 1 / max(objects, 1))
        cluster, namespace, workload, pod, node = trouble.who
        many = f"{objects} pods of " if trouble.pods and objects > 1 else ""
        where = f" in {namespace}" if namespace else ""
        did = "restarted" if kind == "restart" else "had trouble"
        said = (
            f"{many}{trouble.about}{where} {did} ({trouble.reason}), {times(counted)} since {clock(trouble.first_ms)}"
        )
        return Symptom(
            id=digest(key, str(minute_of(trouble.first_ms))),
            fingerprint=key,
            kind="restart" if kind == "restart" else "event",
            resource=Resource(cluster, namespace, workload, pod, "", node),
            start_ms=trouble.first_ms,
            seen_ms=max(trouble.last_ms, self._time_ms),
            last_ms=trouble.last_ms,
            ended=ended,
            strength=round(strength, 3),
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
        self._bound(self._owners, MOST_OWNERS, "owners")
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
        self._bound(self._alerts, MOST_ALERTS, "alerts")

    def _notified(self, told: Fired, each: Notified) -> Iterator[Sign]:
        key = told.document.id  # of its fingerprint and start
        known = self._alerts.pop(key, None)
        if known is None:
            old = each.firing and each.time_ms < self._first_ms - GROUP_MS
            quiet = told.name in ALWAYS or old or not each.firing
            known = [told.fingerprint, each.time_ms, each.sent_ms, 0, False, False, quiet, None]
        self._alerts[key] = known
        _, start_ms, _, told_ms, opens, over, quiet, _ = known
        known[2] = max(known[2], each.sent_ms)
        if quiet or over:
            return
        if not each.firing:
            known[5] = True
            yield self._alert(known, told, each, ended=True)
            return
        level = told.severity if told.severity != UNKNOWN or "severity" in told.labels else WARN
        lasts = known[2] - start_ms >= self._settings.alert_lasts_s * 1000
        known[4] = opens or level >= CRITICAL or (level >= WARN and lasts)
        if not told_ms or known[4] != opens or each.sent_ms - told_ms >= AGAIN_MS:
            yield self._alert(known, told, each, ended=False)

    def _alert(self, known: Row, told: Fired, each: Notified, *, ended: bool) -> Symptom:
        fingerprint, start_ms, _, _, opens, _, _, _ = known
        known[3] = each.sent_ms
        about = told.resource.workload or told.resource.pod or told.resource.node
        where = f" in {told.resource.namespace}" if told.resource.namespace else ""
        whom = f" for {about}{where}" if about else where
        state = (
            f"was firing from {clock(start_ms)} to {clock(each.time_ms)}" if ended else f"fires since {clock(start_ms)}"
        )
        symptom = Symptom(
            id=digest("alert", fingerprint, str(minute_of(start_ms))),
            fingerprint=digest("alert", told.resource.cluster, fingerprint),
            kind="alert",
            resource=told.resource,
            start_ms=start_ms,
            seen_ms=each.sent_ms,
            last_ms=each.sent_ms,
            ended=ended,
            strength=0.9 if opens else 0.6 if told.severity >= WARN or not told.severity else 0.3,
            opens=opens,
            severity=min(max(told.severity, 0), FATAL),
            name=told.name,
            text=f"Alert {told.name}{whom} {state}: {short(each.text)}",
            evidence=dated_id("alert", told.document.id, start_ms),
            at=(each.at,),
            mentions=mentions(each.text, told.labels, own=told.resource.workload),
            runbook_url=each.runbook_url,
        )
        known[7] = _plain(symptom)
        return symptom

    # Time

    def advance(self, now_ms: int) -> Iterable[Sign]:
        """Time goes on with ticks, too, but not by a jump: that is one clock that is ahead."""
        step_ms = now_ms - self._now_ms if self._now_ms else 0
        self._now_ms = max(self._now_ms, now_ms)
        drifted = self._time_ms + step_ms if step_ms <= MINUTE_MS else self._time_ms
        self._time_ms = min(max(self._crowd.reach(), drifted), self._now_ms)
        for key, trouble in list(self._troubles.items()):
            if self._time_ms - trouble.last_ms > QUIET_MS:
                del self._troubles[key]
                if trouble.told_ms:
                    yield self._tell(key, trouble, None, ended=True)
        for key, known in list(self._alerts.items()):
            yield from self._still(key, known)

    def _still(self, key: str, known: Row) -> Iterator[Sign]:
        """An alert that lasts opens; one that is neither repeated nor resolved is over, whoever lost the word of it."""
        if self._time_ms - known[2] > REPEATED_MS:
            del self._alerts[key]
            if known[7] and not known[5]:
                yield _read(known[7], ended=True, seen_ms=self._time_ms)
        elif known[7] and not known[4] and not known[5]:
            last = known[7]
            lasts = self._time_ms - known[1] >= self._settings.alert_lasts_s * 1000
            level = last["severity"] or WARN
            if lasts and level >= WARN:
                known[4] = True
                last |= {"opens": True, "strength": 0.85, "seen_ms": self._time_ms}
                yield _read(last)

    def _bound(self, held: dict[str, Any], most: int, what: str) -> None:
        while len(held) > most:
            del held[next(iter(held))]
            self.dropped[what] = self.dropped.get(what, 0) + 1

    def dump(self) -> Json:
        state = {name: getattr(self, name) for name in _PLAIN}
        troubles = {key: [getattr(each, name) for name in each.__slots__] for key, each in self._troubles.items()}
        copied: Json = orjson.loads(orjson.dumps({**state, "crowd": self._crowd.row(), "troubles": troubles}))
        return copied

    @classmethod
    def load(cls, dumped: Json, settings: Detection) -> "States":
        states, kept = cls(settings), orjson.loads(orjson.dumps(dumped))
        for name in _PLAIN:
            setattr(states, name, kept[name])
        states._crowd = Crowd(*kept["crowd"])
        states._troubles = {key: Trouble(*row) for key, row in kept["troubles"].items()}
        return states


_PLAIN: Final = ("_now_ms", "_time_ms", "_first_ms", "_alerts", "_owners", "dropped")


def _about(told: Happened) -> str:
    """Whom it is about: the owner of a pod, a node, or the object itself."""
    who = told.resource
    return who.workload or (who.pod or who.node) or f"{told.object_kind}/{told.object_name}"


def _evidence(told: Happened) -> str:
    day = told.document.day.replace(".", "")
    return f"event-{day}-{told.document.id}"


def _plain(symptom: Symptom) -> Json:
    """As JSON will give it back."""
    values = {name: getattr(symptom, name) for name in Symptom.__slots__}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _read(row: Json, **changed: Any) -> Symptom:
    who = Resource(*row["resource"])
    return Symptom(**{**row, "resource": who, "at": tuple(row["at"]), "mentions": tuple(row["mentions"]), **changed})
