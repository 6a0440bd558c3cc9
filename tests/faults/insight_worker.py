"""The real worker with one thing wrong: it dies at a named point, or it has one defect. `python -m ...insight_worker`.

Nothing of this is in the product: its objects are wrapped from outside, then `streams.worker.run` is called.
"""

import argparse
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import count
from typing import Any, Final

from processors.fold import Fold
from schemas.insights import Insight
from schemas.settings import Settings
from streams import worker
from streams.insights.agent import InsightAgent
from streams.insights.outbox import Outbox, Outgoing
from streams.insights.publisher import InsightPublisher
from streams.insights.snapshots import Snapshots
from streams.insights.summaries import SummaryProducer
from tests.faults.worker_with import die

# Name -> where: the class, its method, and whether the process dies before or after the call.
CRASH: Final[Mapping[str, tuple[type, str, str]]] = {
    "before_summaries": (SummaryProducer, "deliver", "before"),  # documents are durable, nobody was told
    "after_summaries_before_ack": (SummaryProducer, "deliver", "after"),
    "before_publishing": (InsightPublisher, "deliver", "before"),
    "amid_publishing": (InsightPublisher, "deliver", "half"),
    "after_publishing_before_index": (InsightPublisher, "deliver", "after"),
    "after_index_before_ack": (InsightAgent, "_tell", "after"),
    "amid_snapshot": (Snapshots, "save", "half"),
    "after_snapshot": (Snapshots, "save", "after"),
}


def arm(point: str, nth: int) -> None:
    """SIGKILL ourselves the n-th time the point is reached with something to do."""
    owner, method, when = CRASH[point]
    call, reached = getattr(owner, method), count(1)

    @wraps(call)
    def dying(self: Any, *args: Any) -> Any:
        due = (not isinstance(args[0], Sequence | Fold) or bool(args[0])) and next(reached) >= nth
        if due and when == "before":
            die()
        if due and when == "half":
            _half(self, call, args)
            die()
        answer = call(self, *args)
        if due:
            die()
        return answer

    setattr(owner, method, dying)


def _half(self: Any, call: Callable[..., Any], args: Sequence[Any]) -> None:
    """A half of the revisions; a snapshot without its manifest."""
    if isinstance(self, InsightPublisher):
        call(self, args[0][: (len(args[0]) + 1) // 2], *args[1:])
        return
    offer = Outbox.offer
    Outbox.offer = lambda outbox, messages: offer(outbox, messages[:-1])  # type: ignore[method-assign]
    call(self, *args)


def snapshot_before_publishing() -> None:
    """What is in a snapshot is not told again: one that is written too early loses what was not published yet."""
    tell, save = InsightAgent._tell, InsightAgent._save

    def early(self: InsightAgent, told: Sequence[tuple[Insight, int]]) -> None:
        for partition, held in self._held.items():
            if not held.told:
                held.told = True
                save(self, partition, held)
        if told:
            threading.Event().wait(0.2)  # so that a kill finds it
        tell(self, told)

    InsightAgent._tell = early  # type: ignore[method-assign]


def position_of_the_group() -> None:
    """The state of the snapshot, but reading goes on at what was acknowledged: what lies between is never folded."""
    hold = InsightAgent.hold

    def trusting(self: InsightAgent, topic_id: str, partitions: Any) -> dict[int, int | None]:
        found = hold(self, topic_id, partitions)
        topic = self._settings.insights.summaries_topic
        places = [(topic, partition) for partition in partitions]
        broker = worker.topics.Broker(self._settings.kafka)
        committed = broker.committed(self._settings.kafka.group, places)
        return {p: max(at or 0, committed.get((topic, p), 0)) if at is not None else None for p, at in found.items()}

    InsightAgent.hold = trusting  # type: ignore[method-assign]


def summaries_in_the_background() -> None:
    """Records are acknowledged whether or not their summaries have arrived."""
    deliver = Outbox.deliver

    def later(self: Outbox, messages: Sequence[Outgoing], stop: threading.Event) -> int:
        threading.Timer(3.0, deliver, (self, list(messages), stop)).start()
        return 0

    Outbox.deliver = later  # type: ignore[method-assign]


def wall_clock_ids() -> None:
    """Something of this process gets into what is published: copies differ."""
    deliver = InsightPublisher.deliver
    salt = str(threading.get_native_id())

    def salted(self: InsightPublisher, insights: Sequence[Insight], stop: threading.Event) -> None:
        deliver(self, [each.model_copy(update={"title": f"{each.title} {salt}"}) for each in insights], stop)

    InsightPublisher.deliver = salted  # type: ignore[method-assign]
    InsightPublisher.published = lambda self: {}  # type: ignore[method-assign]


BROKEN: Final[Mapping[str, Callable[[], None]]] = {
    "snapshot-before-publishing": snapshot_before_publishing,
    "position-of-the-group": position_of_the_group,
    "summaries-in-the-background": summaries_in_the_background,
    "wall-clock-ids": wall_clock_ids,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crash", choices=sorted(CRASH), help="die at this point")
    parser.add_argument("--nth", type=int, default=1, help="the n-th time it is reached")
    parser.add_argument("--broken", choices=sorted(BROKEN), help="work with this defect")
    asked = parser.parse_args()
    if asked.broken:
        BROKEN[asked.broken]()
    if asked.crash:
        arm(asked.crash, asked.nth)
    worker.run(Settings.load())


if __name__ == "__main__":
    main()
