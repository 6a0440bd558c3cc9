"""Everything that could grow in a worker, what it may hold at most, and what sets that limit."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.table import Table

from processors import budget, decode, embed, fold, writer
from processors.decode import values
from schemas.settings import Settings
from streams import app, consumer, flusher

UNBOUNDED: Final = "[red]nothing[/]"
# What, at most, by which setting; a name in small letters is a constant of that module.
Bound = tuple[str, str, str]


def listed(settings: Settings) -> list[Bound]:
    """By reading the code, in the order in which a record passes."""
    worker = settings.worker
    return [
        ("chunks that wait in an agent", f"{app.BUFFERED_CHUNKS} of {consumer.CHUNK_RECORDS:,} messages",
         "streams.app, streams.consumer"),
        ("records of a message", f"{decode.MOST_RECORDS:,}", "processors.decode"),
        ("values, levels and labels of one", f"{values.MOST_VALUES:,}; {values.MOST_LEVELS}; {values.MOST_LABELS}",
         "processors.decode"),
        ("characters of a body", f"{worker.max_body_chars:,}", "FRESHET_WORKER__MAX_BODY_CHARS"),
        ("records of a fold, of which there are two", f"{worker.flush_records:,}", "FRESHET_WORKER__FLUSH_RECORDS"),
        ("bytes of its messages", f"{flusher.FOLD_BYTES:,}", "streams.flusher"),
        ("exemplars, identifiers, observations, points of a document",
         f"{fold.EXEMPLARS}; {fold.IDENTIFIERS}; {fold.OBSERVATIONS}; {fold.POINTS}", "processors.fold"),
        ("slices of a document", "partitions of its topic; one more where a block of 2^20 ends",
         "FRESHET_KAFKA__PARTITIONS"),
        ("slices remembered, patterns known to exist", f"{worker.cached_slices:,} each, of 0.5 kB",
         "FRESHET_WORKER__CACHED_SLICES"),
        ("bytes and documents of a bulk request", f"{worker.bulk_bytes:,}; {writer.BULK_DOCUMENTS:,}",
         "FRESHET_WORKER__BULK_BYTES; processors.writer"),
        ("new patterns of a workload embedded in a minute", f"{worker.new_patterns_per_minute:,}",
         "FRESHET_WORKER__NEW_PATTERNS_PER_MINUTE"),
        ("patterns that wait for the model; workloads with a budget",
         f"{budget.MOST_WAITING:,}; {budget.MOST_WORKLOADS:,}", "processors.budget"),
        ("vectors by text, 1.5 kB each", f"{embed.CACHED_TEXTS:,}", "processors.embed"),
        ("days of event time behind a record's Kafka timestamp, so indices", "7 to 30 by kind", "FRESHET_RETENTION__*"),
        ("days between Kafka timestamps", "those of 200 years", "message.timestamp.before.max.ms of the topic"),
        ("watermarks of sources: one for every workload ever seen", UNBOUNDED, "none"),
    ]  # fmt: skip


def bounds(known: Iterable[Bound], memories: Iterable[Mapping[str, Any]]) -> Table:
    """`known`: see `listed`; `memories`: of the pure path's runs, see `growth_path.memories`."""
    table = Table("what could grow", "at most", "held here", "by")
    for what, most, by in known:
        table.add_row(what, most, "", by)
    held: dict[str, tuple[int, int | None]] = {}
    for memory in memories:
        before, _ = held.get(memory["name"], (0, 0))
        held[memory["name"]] = max(before, memory["held"]), memory["most"]
    for name, (found, most) in held.items():
        module, _, what = name.rpartition(".")
        limit = UNBOUNDED if most is None else f"{most:,}"
        table.add_row(f"answers of {what} remembered", limit, f"{found:,}", module)
    return table
