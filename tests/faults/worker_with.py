"""The real worker with one thing wrong: it dies at a named point, or it has one defect. `python -m ...worker_with -h`.

Nothing of this is in the product: its objects are wrapped from outside, then `streams.worker.run` is called.
"""

import argparse
import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from itertools import count
from typing import Any, Final

from processors import writer
from processors.fold import Fold, Slice, Spots, count_of
from processors.index import ItemOutcome, OpenSearchIndex, Write
from processors.letters import LetterProducer
from processors.outcomes import Verdict, classify
from processors.sink import Sink
from processors.writer import Writer
from schemas.documents import Target, digest
from schemas.settings import Settings
from streams import worker
from streams.consumer import BatchConsumer
from streams.flusher import Flusher

SIGNALS: Final = tuple(worker.SIGNALS.values())  # runbooks have faults of their own

# Name -> where: the class, its method, and whether the process dies before or after the call.
CRASH: Final[dict[str, tuple[type, str, str]]] = {
    "before_bulk": (OpenSearchIndex, "bulk", "before"),
    "between_patterns_and_occurrences": (Writer, "_create", "after"),
    "mid_flush": (Writer, "_join", "after"),  # documents are written, their tallies are not
    "mid_bulk": (OpenSearchIndex, "bulk", "half"),
    "after_bulk_before_ack": (Sink, "write", "after"),
    "before_dead_letter": (LetterProducer, "deliver", "before"),
    "after_dead_letter_before_ack": (LetterProducer, "deliver", "after"),
    "after_ack_before_commit": (BatchConsumer, "_commit_offsets", "before"),
    "after_commit": (BatchConsumer, "_commit_offsets", "after"),
}


def arm(point: str, nth: int) -> None:
    """SIGKILL ourselves the n-th time the point is reached."""
    owner, method, when = CRASH[point]
    call, reached = getattr(owner, method), count(1)

    def due(args: Sequence[Any]) -> bool:
        return bool(args[0]) and next(reached) >= nth  # a call about nothing is none

    @wraps(call)
    def blocking(self: Any, *args: Any) -> Any:
        dying = due(args)
        if dying and when == "before":
            die()
        if dying and when == "half":
            call(self, args[0][: (len(args[0]) + 1) // 2])
            die()
        answer = call(self, *args)
        if dying:
            die()
        return answer

    @wraps(call)
    async def waiting(self: Any, *args: Any, **more: Any) -> Any:
        dying = due(args)
        if dying and when == "before":
            die()
        answer = await call(self, *args, **more)
        if dying:
            die()
        return answer

    setattr(owner, method, waiting if owner is BatchConsumer else blocking)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def commit_before_index() -> None:
    covered, early = Flusher.covered, set[Any]()

    async def nothing() -> None:
        """Acknowledged already."""

    def acknowledging(self: Flusher, chunk: Any) -> None:
        early.add(asyncio.ensure_future(chunk.acknowledge()))
        covered(self, replace(chunk, acknowledge=nothing))

    Flusher.covered = acknowledging  # type: ignore[method-assign]


def acknowledge_on_exception() -> None:
    """No patience, and an error of the store is logged and forgotten, as an agent of Faust would."""
    write, show = Sink.write, Sink.show

    def impatient(self: Writer, reason: str, bound_s: float, stop: Any) -> None:
        raise RuntimeError(reason)

    def forgiving(self: Sink, fold: Fold, stop: Any) -> Any:
        try:
            return write(self, fold, stop)
        except RuntimeError:
            return []

    def forgiving_ahead(self: Sink, urgent: Fold, stop: Any) -> Any:
        try:
            return show(self, urgent, stop)
        except RuntimeError:
            return []

    Writer._wait, Sink.write = impatient, forgiving  # type: ignore[method-assign]
    Sink.show = forgiving_ahead  # type: ignore[method-assign]


def status_200_is_success() -> None:
    bulk = OpenSearchIndex.bulk

    def trusting(self: OpenSearchIndex, writes: Sequence[Write]) -> list[ItemOutcome] | None:
        bulk(self, writes)
        return [ItemOutcome(200)] * len(writes)

    OpenSearchIndex.bulk = trusting  # type: ignore[method-assign]


def _verdict(status: int) -> Callable[[], None]:
    """Take this status for success."""

    def mistake() -> None:
        def judge(*, create: bool, status: int, reason: str = "") -> Verdict:
            return Verdict.DONE if status == wrong else classify(create=create, status=status, reason=reason)

        writer.classify = judge

    wrong = status
    return mistake


def random_ids() -> None:
    change, salt = Fold.change, os.urandom(8).hex()

    def salted(self: Fold, target: Target, fixed: Any, *, counted: bool) -> Any:
        if target.kind == "occurrences":
            target = target._replace(id=digest(salt, target.id))
        return change(self, target, fixed, counted=counted)

    Fold.change = salted  # type: ignore[method-assign]


def no_mark_check() -> None:
    def advance(stored: Slice | None, spots: Spots) -> Slice | None:
        mark, records = stored or Slice(-1, 0)
        return Slice(max(mark, *spots), records + count_of(spots)) if spots else stored

    writer.advance = advance


def lose_letters() -> None:
    LetterProducer.deliver = lambda self, letters, stop: None  # type: ignore[method-assign]


BROKEN: Final[dict[str, Callable[[], None]]] = {
    "commit-before-index": commit_before_index,
    "acknowledge-on-exception": acknowledge_on_exception,
    "200-is-success": status_200_is_success,
    "swallow-429": _verdict(429),
    "409-on-update-is-done": _verdict(409),
    "random-ids": random_ids,
    "no-mark-check": no_mark_check,
    "lose-letters": lose_letters,
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
    worker.run(Settings.load(), SIGNALS)


if __name__ == "__main__":
    main()
