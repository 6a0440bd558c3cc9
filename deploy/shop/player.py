"""Plays a scenario: every happening in order of time, in the bytes of its shipper. No clock, no I/O."""

import heapq
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from random import Random
from typing import Final, assert_never

from deploy.shop import formats
from deploy.shop.chores import Chore, usual_chores
from deploy.shop.incidents import KINDS, Incident, build_incident, cast_victims
from deploy.shop.metrics import Series, measure, merge_series, usual_series
from deploy.shop.noise import noise_alerts, noise_events, noise_logs
from deploy.shop.script import Bends, Fires, Happens, Lines, Moves, notify, observe, say
from deploy.shop.telemetry import Happening, Log, Message, Notice, Observation, Point, Sample
from deploy.shop.topology import HOME, Estate, Pod, build_estate

DEFAULT_MINUTES: Final = 20.0
DEFAULT_RATE: Final = 50.0  # background log lines a second
QUIET_SHARE: Final = 0.25  # of the time played, before the first incident begins
PASSING_RATE: Final = 12.0
PASSING_EVERY: Final = timedelta(minutes=5)  # an incident begins; it has grown when the next one begins
PASSING_LASTS: Final = 2  # as long as that many turns
PEACE: Final = 2  # turns without any, at the beginning and at the end
STAGGER_S: Final = 20.0  # between the beginnings of incidents that are played together
REGIONS: Final = ("eu", "us", "apac", "sa", "me", "af", "oc", "in", "cn", "jp")
BATCH_S: Final = 2.0  # how long the collector gathers
BATCH_RECORDS: Final = 200
SHIPPED_AFTER_S: Final = 0.004
TOPICS: Final = ("logs", "metrics", "k8s-events", "alerts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is played: the same fields give the same messages, byte for byte."""

    seed: int
    start: datetime
    end: datetime  # incidents are fully grown; playing may go on
    estate: Estate
    incidents: tuple[Incident, ...]
    chores: tuple[Chore, ...] = ()
    rate: float = DEFAULT_RATE
    binary: bool = True  # False: OTLP as JSON only, for files of lines

    @property
    def loudness(self) -> float:
        """Scales the lines of incidents, so that they keep their proportion to the background."""
        return self.rate / len(self.estate.shops) / DEFAULT_RATE


def single_incident(
    kind: str, *, seed: int, end: datetime, minutes: float = DEFAULT_MINUTES, rate: float = DEFAULT_RATE
) -> Scenario:
    """One shop, namespace `shop`, with one incident. Raises KeyError for an unknown kind."""
    estate = build_estate((HOME,), seed=seed)
    start = end - timedelta(minutes=minutes)
    begin = start + (end - start) * QUIET_SHARE
    victim = cast_victims(estate, HOME, (kind,), seed)[kind]
    incident = build_incident(estate, kind, victim, namespace=HOME, seed=seed, start=begin, end=end, alone=True)
    return Scenario(seed=seed, start=start, end=end, estate=estate, incidents=(incident,), rate=rate)


def all_incidents(
    seeds: tuple[int, ...], *, end: datetime, minutes: float = DEFAULT_MINUTES, rate: float = DEFAULT_RATE
) -> Scenario:
    """Every kind at once in each of several shops, one shop (namespace `shop-eu`, ...) for each seed."""
    if not 1 <= len(seeds) <= len(REGIONS) or len(set(seeds)) != len(seeds):
        raise ValueError(f"give one to {len(REGIONS)} different seeds")
    shops = tuple(f"{HOME}-{region}" for region in REGIONS[: len(seeds)])
    estate = build_estate(shops, seed=seeds[0])
    start = end - timedelta(minutes=minutes)
    first = start + (end - start) * QUIET_SHARE
    stagger = min(timedelta(seconds=STAGGER_S), (end - first) / (2 * len(KINDS)))
    incidents = tuple(
        build_incident(estate, kind, victim, namespace=shop, seed=seed, start=first + n * stagger, end=end, alone=False)
        for shop, seed in zip(shops, seeds, strict=True)
        for n, (kind, victim) in enumerate(sorted(cast_victims(estate, shop, tuple(KINDS), seed).items()))
    )
    return Scenario(seed=seeds[0], start=start, end=end, estate=estate, incidents=incidents, rate=rate)


def passing_incidents(
    seed: int,
    *,
    end: datetime,
    rate: float = PASSING_RATE,
    every: timedelta = PASSING_EVERY,
    grows: timedelta | None = None,
    lasts: timedelta | None = None,
    peace: timedelta | None = None,
    kinds: Collection[str] = KINDS,
) -> Scenario:
    """One shop that meets every kind, one after the other; each grows, goes on for a while, is over.

    Which kind comes when is the seed's choice. `grows`, `lasts`: of an incident, one turn and two unless given, so that
    neighbours overlap. `peace`: before the first and after the last turn, two turns unless given.
    """
    grows, lasts, peace = grows or every, lasts or every * PASSING_LASTS, peace or every * PEACE
    estate = build_estate((HOME,), seed=seed)
    order = sorted(kinds)
    Random(f"{seed}:order").shuffle(order)
    start = end - every * (len(order) - 1) - lasts - 2 * peace
    victims = cast_victims(estate, HOME, tuple(KINDS), seed)
    incidents = []
    for place, kind in enumerate(order):
        begins = start + peace + every * place
        incidents.append(
            build_incident(
                estate, kind, victims[kind], namespace=HOME, seed=seed, start=begins, end=begins + grows, alone=False,
                over=begins + lasts,
            )
        )  # fmt: skip
    return Scenario(seed=seed, start=start, end=end, estate=estate, incidents=tuple(incidents), rate=rate)


def quiet_hours(seed: int, *, end: datetime, hours: float, rate: float = PASSING_RATE) -> Scenario:
    """One shop on a good day: the usual noise, and roll-outs, scaling, a batch and a backup that go well."""
    estate = build_estate((HOME,), seed=seed)
    start = end - timedelta(hours=hours)
    chores = usual_chores(estate, HOME, seed=seed, start_s=start.timestamp(), end_s=end.timestamp())
    return Scenario(seed=seed, start=start, end=end, estate=estate, incidents=(), chores=tuple(chores), rate=rate)


def play(scenario: Scenario, *, until: datetime | None = None) -> Iterator[Message]:
    """Every message in order of time, from the start to `until` (the scenario's end unless given)."""
    stop_s = (until or scenario.end).timestamp()
    seen = takewhile(lambda happening: happening.at_s < stop_s, happenings(scenario))
    return _ship(seen, scenario)


def happenings(scenario: Scenario) -> Iterator[Happening]:
    """What happens, in order of time and without end."""
    start_s, seed, estate = scenario.start.timestamp(), scenario.seed, scenario.estate
    per_shop = scenario.rate / len(estate.shops)
    sources: list[Iterator[Happening]] = [
        noise_logs(estate, seed=seed, start_s=start_s, per_second=per_shop),
        noise_events(estate, seed=seed, start_s=start_s),
        noise_alerts(estate, seed=seed, start_s=start_s),
    ]
    bent: list[Series] = []
    for incident in scenario.incidents:
        sources += _incident_sources(incident, scenario.loudness)
        bent += _bent_series(incident)
    for chore in scenario.chores:
        sources.append(iter(sorted(chore.happenings, key=lambda happening: happening.at_s)))
        bent += chore.bent
    series = merge_series(usual_series(estate, seed=seed), bent)
    sources.append(measure(series, seed=seed, start_s=start_s))
    moves = {
        (row.pod.namespace, row.pod.name): (incident.start.timestamp() + row.after_s, row.to)
        for incident in scenario.incidents
        for row in incident.rows
        if isinstance(row, Moves)
    }
    swaps = {(gone.namespace, gone.name): (at_s, new) for chore in scenario.chores for gone, at_s, new in chore.moves}
    merged = heapq.merge(*sources, key=lambda happening: happening.at_s)
    return _replaced(_without_the_gone(merged, moves), swaps)


def _without_the_gone(
    merged: Iterable[Happening], moves: Mapping[tuple[str, str], tuple[float, Pod]]
) -> Iterator[Happening]:
    """A pod that has ended is silent: others write its lines, and nobody measures it."""
    for one in merged:
        match one:
            case Log() | Point():
                subject = (one.pod.namespace, one.pod.name)
            case Sample():
                subject = (one.labels.get("namespace", ""), one.labels.get("pod", ""))
            case _:
                subject = ("", "")
        ended_s, successor = moves.get(subject, (math.inf, None))
        if successor is None or one.at_s < ended_s:
            yield one
        elif isinstance(one, Log):
            yield replace(one, pod=successor)


def _replaced(merged: Iterable[Happening], swaps: Mapping[tuple[str, str], tuple[float, Pod]]) -> Iterator[Happening]:
    """A pod that was rolled out is another one from then on, which speaks and is measured as the one before was."""
    for one in merged:
        match one:
            case Log() | Point():
                since_s, new = swaps.get((one.pod.namespace, one.pod.name), (math.inf, one.pod))
                yield one if one.at_s < since_s else replace(one, pod=new)
            case Sample():
                subject = (one.labels.get("namespace", ""), one.labels.get("pod", ""))
                since_s, successor = swaps.get(subject, (math.inf, None))
                if successor is None or one.at_s < since_s:
                    yield one
                else:
                    yield replace(one, labels={**one.labels, "pod": successor.name, "node": successor.node})
            case _:
                yield one


def _incident_sources(incident: Incident, loudness: float) -> Iterator[Iterator[Happening]]:
    start_s, end_s, over_s = incident.start.timestamp(), incident.end.timestamp(), _over_s(incident)
    for row in incident.rows:
        match row:
            case Lines():
                yield _until(over_s, say(row, seed=incident.id, start_s=start_s, end_s=end_s, loudness=loudness))
            case Happens():
                yield _until(over_s, observe(row, seed=incident.id, start_s=start_s))
            case Fires():
                yield notify(row, start_s=start_s, over_s=over_s)
            case Bends() | Moves():
                continue
            case _:
                assert_never(row)


def _bent_series(incident: Incident) -> Iterator[Series]:
    start_s, end_s, over_s = incident.start.timestamp(), incident.end.timestamp(), _over_s(incident)
    for row in incident.rows:
        if isinstance(row, Bends):
            yield row.bent(begin_s=start_s + row.after_s, end_s=end_s, over_s=over_s)


def _over_s(incident: Incident) -> float:
    return incident.over.timestamp() if incident.over else math.inf


def _until(over_s: float, happening: Iterator[Happening]) -> Iterator[Happening]:
    return takewhile(lambda one: one.at_s < over_s, happening)


def _ship(happening: Iterator[Happening], scenario: Scenario) -> Iterator[Message]:
    """Lines of OTLP shippers and measurements of processes travel in batches; everything else alone."""
    cluster = scenario.estate.cluster
    batches = _Batches(binary=scenario.binary, cluster=cluster)
    at_s = scenario.start.timestamp()
    for one in happening:
        at_s = one.at_s
        yield from batches.due(at_s)
        match one:
            case Log():
                if one.pod.service.shipper == "fluent-bit":
                    yield _message("logs", formats.fluent_bit(one), at_s)
                else:
                    batches.add(one.pod.service.shipper, one)
            case Sample():
                yield _message("metrics", formats.prometheus(one, cluster=cluster), at_s)
            case Point():
                # The collector of every other node speaks protobuf.
                batches.add("points-proto" if ord(one.pod.node[-1]) % 2 else "points-json", one)
            case Observation():
                yield _event_message(one, cluster)
            case Notice():
                yield _message("alerts", formats.alertmanager(one, cluster=cluster), at_s)
            case _:
                assert_never(one)
    yield from batches.rest(at_s)


def _event_message(seen: Observation, cluster: str) -> Message:
    if seen.shape == "exporter":
        return _message("k8s-events", formats.event_exporter(seen, cluster=cluster), seen.at_s, seen.uid.encode())
    write = formats.core_event if seen.shape == "core" else formats.events_v1
    return _message("k8s-events", write(seen), seen.at_s)


def _message(topic: str, value: bytes, at_s: float, key: bytes | None = None) -> Message:
    return Message(topic=topic, key=key, value=value, timestamp_ms=int((at_s + SHIPPED_AFTER_S) * 1000) + 1)


class _Batches:
    """What OpenTelemetry collectors hold back for a moment."""

    def __init__(self, *, binary: bool, cluster: str) -> None:
        self._binary = binary
        self._cluster = cluster
        self._logs: dict[str, list[Log]] = {}
        self._points: dict[str, list[Point]] = {}
        self._first_s: dict[str, float] = {}

    def add(self, name: str, one: Log | Point) -> None:
        self._first_s.setdefault(name, one.at_s)
        if isinstance(one, Log):
            self._logs.setdefault(name, []).append(one)
        else:
            self._points.setdefault(name, []).append(one)

    def due(self, now_s: float) -> Iterator[Message]:
        for name, first_s in tuple(self._first_s.items()):
            held = len(self._logs.get(name, ())) + len(self._points.get(name, ()))
            if now_s - first_s >= BATCH_S or held >= BATCH_RECORDS:
                yield self._take(name, now_s)

    def rest(self, now_s: float) -> Iterator[Message]:
        for name in tuple(self._first_s):
            yield self._take(name, now_s)

    def _take(self, name: str, now_s: float) -> Message:
        del self._first_s[name]
        proto = name.endswith("proto") and self._binary
        if name in self._logs:
            write_logs = formats.otlp_logs_proto if proto else formats.otlp_logs_json
            return _message("logs", write_logs(self._logs.pop(name), cluster=self._cluster), now_s)
        write_points = formats.otlp_metrics_proto if proto else formats.otlp_metrics_json
        return _message("metrics", write_points(self._points.pop(name), cluster=self._cluster), now_s)
