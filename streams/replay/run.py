"""The composition root of a replay: plan or resume, run, report. Servers are reached only from here."""

import datetime as dt
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console

from cag.known_letters import KnownLetters
from processors import logs
from processors.generation import group_of
from processors.letters import LetterProducer
from processors.pipeline import Pipeline
from processors.sink import Sink, live_label, open_index
from processors.writer import Stopped
from schemas.documents import digest
from schemas.errors import StartupError
from schemas.settings import Settings
from streams import topics
from streams.exits import Exit
from streams.reject_share import DeadLetterLimit, RejectShare
from streams.replay.announcement import Announcement
from streams.replay.loop import Replay, Totals
from streams.replay.meter import Meter
from streams.replay.pace import Pace, live_lag
from streams.replay.reader import Reader, remove_group
from streams.replay.repairs import Repairs
from streams.replay.stretches import Bound, Measured, Place, Plan, Stretch, plan
from streams.watchdog import rounds

HOUSE_EVERY_S: Final = 1.0
LAG_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    topics: tuple[str, ...]
    since: Bound
    until: Bound
    identity: str  # of the range as it was given: the same command resumes
    shadow: str = ""
    exit_when_caught_up: bool = False
    rate: float | None = None
    max_live_lag: int = 2_000
    dry_run: bool = False


@dataclass(slots=True, kw_only=True)
class Report:
    """What a replay did, for people and for scripts."""

    label: str
    group: str
    state: str  # planned | done | interrupted | promoted | following
    stretches: tuple[Stretch, ...]
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        parts = [
            {"partition": str(s.place), "from": s.start, "asked": s.asked, "to": s.end, "messages": s.messages}
            for s in self.stretches
        ]
        head = {"ok": self.state != "interrupted", "state": self.state, "label": self.label, "group": self.group}
        return head | self.figures | {"notes": self.notes, "partitions": parts}

    def lines(self) -> Iterable[str]:
        if self.state == "planned":
            for s in self.stretches:
                moved = f" (asked for {s.asked:,}; counts begin with the block)" if s.asked > s.start else ""
                end = f"to {s.end:,}, {s.messages:,} messages" if s.end is not None else "on, following live"
                yield f"{s.place}: offsets {s.start:,} {end}{moved}"
        yield from self.notes
        said = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in self.figures.items())
        yield f"{self.state}: {said}" if said else self.state


def run(settings: Settings, options: Options, notes: Console) -> tuple[Report, int]:
    """Into the live generation. Blocks to the end. Raises StartupError with one line for the operator."""
    broker, names, ids = reach(settings, options)
    label = live_label(settings)
    live_group = group_of(settings.kafka.group, label)
    group = f"{settings.kafka.group}.replay.{digest(label, *sorted(names), options.identity)[:8]}"
    places = [Place(name, partition) for name in names for partition in broker.partitions(name)]
    with closing(Reader(settings.kafka, group)) as reader:
        saved = {p: each for p, each in reader.saved(places).items() if each.stretch}
        resumes = bool(saved) and all(each.stretch.topic_id == ids[p.topic] for p, each in saved.items())  # type: ignore[union-attr]
        if resumes:
            stretches = {place: each.stretch for place, each in saved.items() if each.stretch}
            made = Plan(stretches=tuple(stretches.values()), notes=("it goes on where it was interrupted",))
        else:
            measured = measure(reader, broker, places, ids, options, live_group)
            made = plan(measured, options.since, options.until, follow=False)
            stretches = {stretch.place: stretch for stretch in made.stretches}
        report = Report(label=label, group=group, state="planned", stretches=made.stretches, notes=list(made.notes))
        if options.dry_run or not made.messages:
            report.figures["messages"] = made.messages
            report.state = "planned" if options.dry_run else "done"
            return report, 0
        for note in report.notes:
            notes.print(note, markup=False)
        positions = {p: saved[p].position if resumes else stretch.start for p, stretch in stretches.items()}
        own = {key for place, stretch in stretches.items() for key in stretch.whole_blocks(positions[place])}
        repairs = Repairs()
        sink = Sink.from_settings(settings, label=label, own=own, changed=repairs.note)
        sink.prepare()
        drive = Drive(settings=settings, options=options, report=report, reader=reader, sink=sink)
        inputs = [i.topic for i in settings.kafka.inputs]
        announcement = Announcement(open_index(settings, label), group, names, sink.publish)
        code = drive.run(
            stretches,
            positions,
            ids,
            notes,
            house=announcement.beat,
            live=lambda: live_lag(broker, live_group, inputs),
            total=sum(stretch.messages for stretch in stretches.values()),
            tick=announcement.note,
        )
        report.figures["documents_mended"] = repairs.total
        if code == 0:
            announcement.end()
            if contested := repairs.contested(open_index(settings, label)):
                report.figures["contested"] = contested
                report.notes.append(
                    f"live went on counting in {contested:,} of the documents that were mended: once it is done with "
                    "them (in a minute or two) run the same command again, to be sure of their counts"
                )
            if stale := repairs.expired(settings.retention, dt.datetime.now(dt.UTC)):
                report.notes.append(f"{stale} days older than retention came back: run `python -m streams expire`")
            remove_group(settings.kafka, group)
            report.state = "done"
        elif code == Exit.UNFINISHED:
            report.notes.append("the same command goes on from here")
        return report, code


def reach(settings: Settings, options: Options) -> tuple[topics.Broker, list[str], dict[str, str]]:
    """The broker, the topics to read and the ids of all topics that are needed. Raises StartupError."""
    logs.configure("WARNING")
    broker = topics.Broker(settings.kafka)
    broker.reach()
    names = chosen(settings, options)
    return broker, names, topics.require(broker, [*names, settings.kafka.dead_letters_topic])


def chosen(settings: Settings, options: Options) -> list[str]:
    """The topics to read. Raises StartupError that names the ones there are."""
    inputs = [i.topic for i in settings.kafka.inputs]
    if unknown := [name for name in options.topics if name not in inputs]:
        raise StartupError(f"{', '.join(unknown)}: no input topic. Choose from {', '.join(inputs)}.")
    if options.shadow and options.topics and set(options.topics) != set(inputs):
        raise StartupError("a shadow takes the place of the live generation, so it reads all inputs: name no topics")
    if not options.topics and not options.shadow:
        raise StartupError(f"name the topics to read again: {', '.join(inputs)}")
    return list(options.topics) or inputs


def measure(
    reader: Reader,
    broker: topics.Broker,
    places: list[Place],
    ids: Mapping[str, str],
    options: Options,
    live_group: str,
) -> dict[Place, Measured]:
    held = {Place(*place): log for place, log in broker.logs(places).items()}
    times: list[dict[Place, int]] = [
        reader.at_time(held, b.time_ms) if b.time_ms is not None else {} for b in (options.since, options.until)
    ]
    committed = broker.committed(live_group, places)
    return {
        place: Measured(
            topic_id=ids[place.topic],
            log=held[place],
            from_time=times[0].get(place),
            to_time=times[1].get(place),
            committed=committed.get(place),
        )
        for place in places
    }


@dataclass(kw_only=True)
class Drive:
    """What both kinds of replay have around their loop: housekeeping, pace, progress, signals, figures."""

    settings: Settings
    options: Options
    report: Report
    reader: Reader
    sink: Sink
    stop: threading.Event = field(default_factory=lambda: stopped_by_signals())
    flushed: bool = field(default=False, init=False)  # told to stop, and all that was read is durable and committed

    def run(
        self,
        stretches: dict[Place, Stretch],
        positions: dict[Place, int],
        ids: dict[str, str],
        notes: Console,
        *,
        house: Callable[[], None],
        live: Callable[[], int],
        total: int,
        left: Callable[[Replay], int] = lambda replay: replay.left,
        tick: Callable[[Replay], None] = lambda _: None,
    ) -> int:
        """The exit code; the report is filled. `house` and `live` (its lag) are called in threads, now and then.

        `total` and what is `left`: messages.
        """
        settings, options, report = self.settings, self.options, self.report
        letters = LetterProducer(settings.kafka, "replay", generation=report.label)
        pace = Pace(clock=time.monotonic, rate=options.rate, max_live_lag=options.max_live_lag)
        known = KnownLetters(settings.kafka, report.label)
        known.read()
        began = time.monotonic()
        with Meter(notes, total, time.monotonic) as meter:

            def each_round(replay: Replay) -> None:
                meter.show(left(replay), replay.totals.records, waiting(self.sink, letters, pace))
                tick(replay)

            replay = Replay(
                reader=self.reader,
                pipeline=Pipeline.from_settings(settings),
                sink=self.sink,
                known=known,
                deliver=letters.deliver,
                share=RejectShare(settings.worker.dead_letter_limit),
                pace=pace,
                stretches=stretches,
                positions=positions,
                topic_ids=ids,
                stop=self.stop,
                tick=each_round,
                keeps_gaps=bool(options.shadow),
            )
            ends = [
                rounds("housekeeping", HOUSE_EVERY_S, house, lambda: None),
                rounds("lag", LAG_EVERY_S, lambda: pace.live_is_behind(live()), lambda: None),
            ]
            code = self._go(replay)
            for end in ends:
                end.set()
        self._tell(replay.totals, time.monotonic() - began)
        return code

    def _tell(self, totals: Totals, seconds: float) -> None:
        self.report.figures |= {
            "messages": totals.messages,
            "records": totals.records,
            "new_dead_letters": totals.letters,
            "seconds": round(seconds, 1),
        }
        if totals.lost:
            self.report.notes.append(f"retention took {totals.lost:,} messages before they could be read")

    def _go(self, replay: Replay) -> int:
        report = self.report
        try:
            if replay.run():
                return 0
            self.flushed = True
        except Stopped as stopped:
            report.notes.append(f"a store was away when it was told to stop ({stopped})")
        except DeadLetterLimit as limit:
            report.notes.append(f"{limit}: check the formats of the inputs; nothing after them was acknowledged")
            report.state = "interrupted"
            return int(Exit.REJECTS)
        report.state = "interrupted"
        return int(Exit.UNFINISHED)


def waiting(sink: Sink, letters: LetterProducer, pace: Pace) -> str:
    """Why nothing goes on, '' while it does."""
    if sink.paused or letters.paused:
        return f"waits: {sink.paused or letters.paused}"
    return f"waits for the live group, which is {pace.behind:,} records behind" if pace.waits else ""


def stopped_by_signals() -> threading.Event:
    """Set by Ctrl-C and SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
