"""Two recorded OpenShift installations: trouble of a start-up, no planted fault. What is told, and how much of it?"""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from schemas.records import Message
from schemas.topics import Input
from streams.recording import Item
from tests.evaluation.folders import SHARED, rows
from tests.evaluation.insights.folder import listed
from tests.evaluation.insights.recordings import INPUTS, ordered, value
from tests.evaluation.insights.report import Part
from tests.evaluation.insights.route import run as run_route
from tests.evaluation.insights.truth import episodes_of
from tests.evaluation.must_gather import as_fluent_bit, as_vector, nodes_of

CLUSTERS: Final = ("must-gather-aws", "must-gather-metal")


def messages(cluster: Path) -> list[Message]:
    """Events and pod logs, the logs in the envelopes of two shippers, as the labelled set has them."""
    return ordered(_values(cluster))


def _values(cluster: Path) -> Iterator[tuple[Input, Item]]:
    nodes = nodes_of(cluster)
    for event in rows(cluster / "events.jsonl.gz"):
        yield INPUTS["k8s-events"], value(event)
    for line in rows(cluster / "pod_logs.jsonl.gz"):
        node = nodes.get(line["pod"], "")
        wrap = as_vector if zlib.crc32(line["pod"].encode()) % 2 else as_fluent_bit
        yield INPUTS["logs"], value(wrap(line, node))


def run(say: Callable[[str], None], source: Path = SHARED) -> Part:
    """Raises OSError where the recordings are not."""
    part = Part()
    for name in CLUSTERS:
        ran = run_route(messages(source / "k8s" / name))
        episodes = [episode for episode in episodes_of(ran) if not episode.merged]
        say(f"{name}: {ran.records} records of {ran.hours:.2f} hours in {ran.fold_s + ran.judge_s:.0f} s")
        part.tables.append(listed(name, episodes))
        part.figures[name] = {
            "incidents": len(episodes),
            "hours": round(ran.hours, 2),
            "incidents_per_hour": round(len(episodes) / ran.hours, 2),
            "records": ran.records,
        }
        part.details = (part.details or {}) | {name: [e.last.model_dump(mode="json") for e in episodes]}
    return part
