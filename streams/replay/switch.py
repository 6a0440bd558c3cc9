"""`replay promote | discard | list`: labels in the index together with their consumer groups in Kafka."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Final

from processors.embed import make_embedder
from processors.sink import open_index
from schemas.errors import StartupError
from schemas.settings import Settings
from streams import topics
from streams.replay import diff as shadow_diff
from streams.replay.reader import Reader, remove_group
from streams.replay.shadows import Label, Shadows, behind, caught_up
from streams.replay.stretches import Place

PATIENCE_S: Final = 30.0  # for a shadow that follows closely to pass the point where live is now
NAMED: Final = 3  # partitions that are behind
STILL_S: Final = 4.0  # one that does not move for so long is not being fed
MEMBERS_S: Final = 25.0  # a worker that was stopped stays in its group for a session
VECTORS_LEAST, VECTORS_SHARE = 50, 0.01  # new patterns wait for their vectors all the time


def promote(settings: Settings, name: str, *, force: bool, say: Callable[[str], None]) -> str:
    """Returns the label. Blocks; raises StartupError when it is not ready."""
    broker, shadows = _broker(settings), Shadows(settings)
    label = shadows.named(name)
    live = next((each for each in shadows.labels().values() if each.live), None)
    if not label.claimed:
        raise StartupError(f"{label.name} was discarded: what is left of it goes with `replay discard {label.name}`")
    if live and live.name != label.name:
        lines = [*_behind(settings, broker, live, label, wait=not force), *_without_vectors(shadows, label)]
        if lines and not force:
            raise StartupError(
                f"{label.name} is not ready: {'; '.join(lines)}. Let `replay --shadow` catch up, or say --force."
            )
        for line in lines:
            say(line)
    shadows.switch(label.name)
    return label.name


def discard(settings: Settings, name: str) -> str:
    """Returns the label. Blocks; raises StartupError."""
    broker, shadows = _broker(settings), Shadows(settings)
    label = shadows.named(name)
    if label.live:
        raise StartupError(f"{label.name} is live: promote another one first")
    others = {each.group for each in shadows.labels().values() if each.name != label.name}
    if label.group not in others and broker.group(label.group).assigned:
        raise StartupError(f"workers are in the group {label.group}: stop them first")
    shadows.remove(label)
    deadline = time.monotonic() + MEMBERS_S
    while label.group not in others and not remove_group(settings.kafka, label.group):
        if time.monotonic() > deadline:
            raise StartupError(f"workers are in the group {label.group}: stop them, then discard again")
        time.sleep(1)
    return label.name


def overview(settings: Settings) -> list[dict[str, Any]]:
    broker, shadows = _broker(settings), Shadows(settings)
    labels = shadows.labels()
    live = next((label for label in labels.values() if label.live), None)
    theirs = positions(settings, broker, live.group) if live else {}
    rows = []
    for label in sorted(labels.values(), key=lambda each: (not each.live, each.name)):
        ours = positions(settings, broker, label.group)
        rows.append(
            {
                "label": label.name,
                "live": label.live,
                "documents": label.documents,
                "size_bytes": label.size_bytes,
                "without_vectors": shadows.without_vectors(label.name),
                "group": label.group,
                "positions": {str(place): at for place, at in sorted(ours.items())},
                "behind": sum(behind(theirs, ours).values()),
                "differs": differing(live.parts, label.parts) if live else [],
            }
        )
    return rows


def diff(settings: Settings, name: str, *, queries: int) -> shadow_diff.Diff:
    """Blocks for as long as reading both takes. Raises StartupError."""
    broker, shadows = _broker(settings), Shadows(settings)
    shadow = shadows.named(name)
    live = next((label for label in shadows.labels().values() if label.live), None)
    if live is None or live.name == shadow.name:
        raise StartupError(f"{shadow.name} is live itself" if live else "nothing is live: there is nothing to compare")
    theirs, ours = (positions(settings, broker, label.group) for label in (live, shadow))
    logs = {Place(*place): log for place, log in broker.logs({*theirs, *ours}).items()}
    with closing(Reader(settings.kafka, shadow.group)) as reader:
        starts = {place: saved.stretch.start for place, saved in reader.saved(logs).items() if saved.stretch}
        between = shadow_diff.common(theirs, ours, starts, logs, reader.time_at)
    indices = open_index(settings, live.name), open_index(settings, shadow.name)
    embedder = make_embedder(settings.embedder)
    identities = live.parts.get("embedder", ""), shadow.parts.get("embedder", "")
    return shadow_diff.Diff(
        live=live.name,
        shadow=shadow.name,
        compared=between,
        kinds=shadow_diff.compare(*indices, between),
        recall=shadow_diff.recall(*indices, embedder, identities, queries, settings.ranking),
    )


def positions(settings: Settings, broker: topics.Broker, group: str) -> dict[Place, int]:
    """What the group has committed of the inputs."""
    places = [Place(i.topic, p) for i in settings.kafka.inputs for p in broker.partitions(i.topic)]
    return {Place(*place): offset for place, offset in broker.committed(group, places).items()}


def differing(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    return sorted(part for part in {*theirs, *ours} if theirs.get(part) != ours.get(part))


def _behind(settings: Settings, broker: topics.Broker, live: Label, label: Label, *, wait: bool) -> list[str]:
    theirs = positions(settings, broker, live.group)
    left = caught_up(
        theirs,
        lambda: positions(settings, broker, label.group),
        patience_s=PATIENCE_S if wait else 0,
        still_s=STILL_S,
        clock=time.monotonic,
        sleep=time.sleep,
    )
    lines = [f"{place} is {records:,} records behind" for place, records in left.items()]
    return lines if len(lines) < NAMED else [*lines[:NAMED], f"and {len(lines) - NAMED} more partitions are"]


def _without_vectors(shadows: Shadows, label: Label) -> list[str]:
    without = shadows.without_vectors(label.name)
    if without > max(VECTORS_LEAST, VECTORS_SHARE * label.patterns):
        return [f"{without:,} patterns have no vector yet"]
    return []


def _broker(settings: Settings) -> topics.Broker:
    broker = topics.Broker(settings.kafka)
    broker.reach()
    return broker
