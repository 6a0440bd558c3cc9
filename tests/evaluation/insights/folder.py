"""A set that nobody here has seen: what is told of it, and against its `incidents.jsonl` where it has one."""

from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from tests.evaluation.insights import report
from tests.evaluation.insights.baselines import Peers
from tests.evaluation.insights.recordings import cluster_of, of_folder, settings_of
from tests.evaluation.insights.report import Part
from tests.evaluation.insights.route import run as run_route
from tests.evaluation.insights.shop_report import BESIDE
from tests.evaluation.insights.truth import Episode, episodes_of, judged


def run(folder: Path, say: Callable[[str], None]) -> Part:
    """Raises OSError, and ValueError with one line, for a folder that cannot be used."""
    inputs, messages, truths = of_folder(folder)
    say(f"{folder.name}: {len(messages)} messages")
    peers = Peers()
    ran = run_route(messages, settings_of(inputs, cluster_of(inputs, messages)), tap=peers.tap)
    episodes = [episode for episode in episodes_of(ran) if not episode.merged]
    part = Part(tables=[listed(folder.name, episodes)], details=[e.last.model_dump(mode="json") for e in episodes])
    part.figures = {
        "incidents": len(episodes),
        "hours": round(ran.hours, 2),
        "incidents_per_hour": round(len(episodes) / ran.hours, 2) if ran.hours else None,
        "records": ran.records,
        "refused": ran.refused,
    }
    if truths:
        ours = report.figures([judged(truths, ran)])
        theirs = {name: report.figures([judged(truths, each)]) for name, each in peers.rans.items()}
        part.tables.append(report.table(f"{folder.name}, beside simple peers", {"Freshet": ours} | theirs, BESIDE))
        part.figures |= ours
    return part


def listed(name: str, episodes: list[Episode]) -> Table:
    """Everything that was told, for somebody to look at."""
    table = Table("started", "state", "severity", "title", "first cause", "symptoms", "entities", title=name)
    for episode in episodes:
        last = episode.last
        cause = last.causes[0] if last.causes else None
        why = f"{cause.kind}/{cause.name}: {cause.why}" if cause else ""
        table.add_row(
            f"{last.started:%m-%d %H:%M:%S}", last.state, last.severity, last.title, why, str(last.symptom_count),
            str(len(last.entities)),
        )  # fmt: skip
    return table
