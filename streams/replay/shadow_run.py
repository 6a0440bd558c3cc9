"""A shadow generation: built beside the live one with other settings, then following live until it is promoted."""

import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console

from processors.generation import generation, generation_parts, group_of, label_of
from processors.sink import Sink
from schemas.errors import FreshetError, StartupError
from schemas.settings import Settings
from streams import topics
from streams.replay.loop import Replay
from streams.replay.pace import live_lag
from streams.replay.reader import Reader, Saved
from streams.replay.run import Drive, Options, Report, measure, reach
from streams.replay.shadows import NAME, Label, Shadows, behind
from streams.replay.stretches import Bound, Measured, Place, Plan, Stretch, plan

SAID: Final = {
    "promoted": "promoted; start workers with these settings, they go on from here",
    "caught up": "it has what live has; the same command follows on, `replay promote` makes it live",
    "stopped": "resume with the same command",
}
LOOK_EVERY_ROUNDS: Final = 5  # at partitions; the rest is looked at every round, of a second


class Unusable(FreshetError):
    """The shadow cannot go on as it is -> one line, exit code 1."""


def run(settings: Settings, options: Options, notes: Console) -> tuple[Report, int]:
    """Blocks until promoted, stopped, or (when asked to) caught up. Raises StartupError."""
    broker, names, ids = reach(settings, options)
    shadows = Shadows(settings)
    label = label_of(generation(generation_parts(settings)), options.shadow)
    live = check(options.shadow, label, generation_parts(settings), shadows.labels())
    live_group = group_of(settings.kafka.group, live) if live else ""
    places = [Place(name, partition) for name in names for partition in broker.partitions(name)]
    with closing(Reader(settings.kafka, group_of(settings.kafka.group, label))) as reader:
        saved = reader.saved(places)
        measured = measure(reader, broker, places, ids, options, live_group or reader.group)
        made = start(saved, measured, options)
        report = Report(
            label=label, group=reader.group, state="planned", stretches=made.stretches, notes=list(made.notes)
        )
        stretches = {stretch.place: stretch for stretch in made.stretches}
        positions = {p: saved[p].position if p in saved else s.start for p, s in stretches.items()}
        total = sum(max(0, measured[place].log.end - at) for place, at in positions.items())
        if options.dry_run:
            report.figures["messages"] = total
            return report, 0
        for note in report.notes:
            notes.print(note, markup=False)
        sink = Sink.from_settings(settings, label=label, live=False)
        sink.prepare()
        check(options.shadow, label, generation_parts(settings), shadows.labels())  # two that were begun at once
        drive = Drive(settings=settings, options=options, report=report, reader=reader, sink=sink)
        watch = Watch(
            broker=broker, sink=sink, shadows=shadows, label=label, live_group=live_group, places=set(places), ids=ids
        )
        code = drive.run(
            stretches,
            positions,
            ids,
            notes,
            house=sink.housekeeping,
            live=watch.look,
            total=total,
            left=lambda _: watch.left,
            tick=lambda replay: watch.steer(replay, drive.stop, until_caught_up=options.exit_when_caught_up),
        )
        return finish(watch, drive, shadows, code)


def check(name: str, label: str, parts: Mapping[str, str], labels: Mapping[str, Label]) -> str:
    """The label that is live now, '' when none is. Raises StartupError when this shadow may not be built."""
    if not NAME.fullmatch(name):
        raise StartupError(f"--shadow {name}: a name is up to 20 lower-case letters, digits and _")
    if label in labels and labels[label].live:
        raise StartupError(f"{label} has been promoted: start workers with these settings, they go on from here")
    for other in labels.values():
        if other.shadow == name and other.name != label:
            differing = sorted(part for part in parts if other.parts.get(part) != parts[part])
            raise StartupError(
                f"the shadow {name!r} exists with other settings ({', '.join(differing)}): use them, use another name, "
                f"or throw it away with `python -m streams replay discard {name}`"
            )
    return next((other.name for other in labels.values() if other.live), "")


def start(saved: Mapping[Place, Saved], measured: Mapping[Place, Measured], options: Options) -> Plan:
    """Where each partition is read from: where it was left, else as asked for. Raises StartupError."""
    replaced = {p.topic for p, s in saved.items() if s.stretch and s.stretch.topic_id != measured[p].topic_id}
    if replaced:
        raise StartupError(
            f"{', '.join(sorted(replaced))} was deleted and made again since this shadow was begun: "
            f"`python -m streams replay discard {options.shadow}`, then begin anew"
        )
    fresh = {place: there for place, there in measured.items() if place not in saved}
    made = plan(fresh, options.since, Bound(), follow=True)
    known = [
        each.stretch
        or Stretch(place=place, topic_id=measured[place].topic_id, start=each.position, end=None, asked=each.position)
        for place, each in saved.items()
    ]
    resumed = ["it goes on where it was"] if saved else []
    return Plan(stretches=(*known, *made.stretches), notes=(*resumed, *made.notes))


@dataclass(kw_only=True)
class Watch:
    """What happens around a shadow: `look` in a thread, once a second; `steer` in the loop."""

    broker: topics.Broker
    sink: Sink
    shadows: Shadows
    label: str
    live_group: str
    places: set[Place]
    ids: dict[str, str]

    promoted: bool = field(default=False, init=False)
    trouble: str = field(default="", init=False)
    left: int = field(default=0, init=False)  # messages that live has and this shadow has not
    caught_up: bool = field(default=False, init=False)
    _targets: dict[Place, int] | None = field(default=None, init=False)
    _added: set[Place] = field(default_factory=set, init=False)
    _round: int = field(default=0, init=False)

    def look(self) -> int:
        """How far live is behind. Blocks; raises SinkUnavailable."""
        self.promoted = self.label in self.sink.live_labels()
        if self._round % LOOK_EVERY_ROUNDS == 0:
            there = self.shadows.labels().get(self.label)
            if there is None or not there.claimed:
                self.trouble = f"{self.label} was discarded"
            found = self.broker.topic_ids(self.ids)
            if replaced := sorted(name for name in self.ids if found.get(name) != self.ids[name]):
                self.trouble = f"{', '.join(replaced)} was deleted and made again: discard this shadow and begin anew"
            topics_read = {place.topic for place in self.places}
            self._added = {Place(t, p) for t in topics_read for p in self.broker.partitions(t)} - self.places
        self._round += 1
        held = {Place(*place): log.end for place, log in self.broker.logs(self.places).items()}
        live = self.broker.committed(self.live_group, self.places) if self.live_group else {}
        self._targets = {Place(*place): at for place, at in live.items()} or held
        return live_lag(self.broker, self.live_group, self.ids) if self.live_group else 0

    def steer(self, replay: Replay, stop: threading.Event, *, until_caught_up: bool) -> None:
        if added := self._added:
            replay.follow({p: Stretch(place=p, topic_id=self.ids[p.topic], start=0, end=None, asked=0) for p in added})
            self.places = self.places | added  # a new set: the other thread may be reading the old one
            self._added = set()
        if self._targets is not None:
            self.left = sum(behind(self._targets, replay.positions).values())
            self.caught_up = not self.left
        if self.promoted or self.trouble or (until_caught_up and self.caught_up):
            stop.set()


def finish(watch: Watch, drive: Drive, shadows: Shadows, code: int) -> tuple[Report, int]:
    """Say how it ended. Raises Unusable."""
    report, sink = drive.report, drive.sink
    if watch.trouble:
        raise Unusable(watch.trouble)
    if not drive.flushed:
        return report, code
    sink.publish()
    report.state = "promoted" if watch.promoted else "caught up" if watch.caught_up else "stopped"
    while report.state == "caught up" and shadows.without_vectors(report.label):
        sink.housekeeping()  # looks for those of an earlier run every half minute only
        time.sleep(0.5)
    report.notes.append(SAID[report.state])
    return report, 0
