"""The composition root of a replay: plan or resume, run, report. Servers are reached only from here."""

import signal
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console

from processors import logs
from processors.generation import group_of
from processors.letters import LetterProducer
from processors.pipeline import Pipeline
from processors.sink import Sink, live_label
from processors.writer import Stopped
from schemas.documents import digest
from schemas.errors import StartupError
from schemas.settings import Settings
from streams import topics
from streams.dead_letters import DeadLetterLimit, RejectShare
from streams.exits import Exit
from streams.known_letters import KnownLetters
from streams.pace import Pace, live_lag
from streams.replay import Replay
from streams.replay_meter import Meter
from streams.replay_range import Bound, Measured, Place, Plan, Stretch, plan
from streams.replay_reader import Reader, remove_group
from streams.watchdog import rounds

PUBLISH_EVERY_S: Final = 2.0
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
    """Blocks to the end. Raises StartupError with one line for the operator."""
    logs.configure("WARNING")
    broker = topics.Broker(settings.kafka)
    broker.reach()
    names = chosen(settings, options)
    ids = topics.require(broker, [*names, settings.kafka.dead_letters_topic])
    label = live_label(settings)
    live_group = group_of(settings.kafka.group, label)
    group = f"{settings.kafka.group}.replay.{digest(label, *sorted(names), options.identity)[:8]}"
    places = [Place(name, partition) for name in names for partition in broker.partitions(name)]
    reader = Reader(settings.kafka, group)
    try:
        resumed = resumable(reader, places, ids)
        if resumed:
            made = Plan(stretches=tuple(resumed[0].values()), notes=("goes on where it was interrupted",))
        else:
            made = plan(
                measure(reader, broker, places, ids, options, live_group), options.since, options.until, follow=False
            )
        report = Report(label=label, group=group, state="planned", stretches=made.stretches, notes=list(made.notes))
        if options.dry_run or not made.messages:
            report.figures["messages"] = made.messages
            return report, 0
        stretches = {stretch.place: stretch for stretch in made.stretches}
        positions = resumed[1] if resumed else {place: stretch.start for place, stretch in stretches.items()}
        return _live(settings, options, report, reader, broker, (live_group, places), stretches, positions, notes, ids)
    finally:
        reader.close()


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
    held = reader.logs(places)
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


def resumable(
    reader: Reader, places: list[Place], ids: Mapping[str, str]
) -> tuple[dict[Place, Stretch], dict[Place, int]] | None:
    """The stretches and positions of the same command when it was interrupted; None: it starts anew."""
    saved = reader.saved(places)
    stretches = {place: each.stretch for place, each in saved.items() if each.stretch}
    if not stretches or any(stretch.topic_id != ids[place.topic] for place, stretch in stretches.items()):
        return None
    return stretches, {place: saved[place].position for place in stretches}


def _live(
    settings: Settings,
    options: Options,
    report: Report,
    reader: Reader,
    broker: topics.Broker,
    live: tuple[str, list[Place]],
    stretches: dict[Place, Stretch],
    positions: dict[Place, int],
    notes: Console,
    ids: Mapping[str, str],
) -> tuple[Report, int]:
    sink = Sink.from_settings(settings, label=report.label)
    sink.prepare()
    letters = LetterProducer(settings.kafka, "replay", generation=report.label)
    pace = Pace(clock=time.monotonic, rate=options.rate, max_live_lag=options.max_live_lag)
    stop = stopped_by_signals()
    began = time.monotonic()
    with Meter(notes, sum(s.messages for s in stretches.values()), time.monotonic) as meter:
        replay = Replay(
            reader=reader,
            pipeline=Pipeline.from_settings(settings),
            sink=sink,
            letters=KnownLetters(settings.kafka, report.label),
            deliver=letters.deliver,
            share=RejectShare(settings.worker.dead_letter_limit),
            pace=pace,
            stretches=stretches,
            positions=positions,
            topic_ids=ids,
            stop=stop,
            tick=lambda r: meter.show(r.left, r.totals.records, waiting(sink, letters, pace)),
        )
        ends = [
            rounds("publish", PUBLISH_EVERY_S, sink.publish, lambda: None),
            rounds("lag", LAG_EVERY_S, lambda: pace.live_is_behind(live_lag(broker, *live)), lambda: None),
        ]
        try:
            finished = replay.run()
        except Stopped:
            finished = False
        except DeadLetterLimit as limit:
            report.notes.append(f"{limit}: check the inputs' formats; what was read is written, the rest is not")
            report.state = "interrupted"
            return report, int(Exit.REJECTS)
        finally:
            for end in ends:
                end.set()
    totals = replay.totals
    report.figures |= {
        "messages": totals.messages,
        "records": totals.records,
        "new_dead_letters": totals.letters,
        "seconds": round(time.monotonic() - began, 1),
    }
    if not finished:
        report.state = "interrupted"
        report.notes.append("interrupted: the same command goes on from here")
        return report, int(Exit.UNFINISHED)
    sink.publish()
    remove_group(settings.kafka, reader.group)
    report.state = "done"
    return report, 0


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
