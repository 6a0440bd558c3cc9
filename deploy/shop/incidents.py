"""The eight kinds of incident: whom they hit, what is asked about them, and what the right answer must cite."""

from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

from deploy.shop import platform_kinds, workload_kinds
from deploy.shop.plot import Expectation, Kind, Stage
from deploy.shop.script import Row
from deploy.shop.topology import Estate

KINDS: dict[str, Kind] = {kind.name: kind for kind in (*workload_kinds.KINDS, *platform_kinds.KINDS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident with its ground truth; `rows` is what makes it happen."""

    kind: str
    seed: int
    start: datetime
    end: datetime  # fully grown; it goes on afterwards
    namespace: str
    workload: str  # whom it hits; for a node, the workload that suffers first
    callers: tuple[str, ...]  # where its symptoms show
    node: str  # the node at fault, else empty
    question: str
    cause: tuple[Expectation, ...]
    runbook: Expectation
    turns: tuple[str, ...]  # the same as a conversation: what the user types, one after another
    rows: tuple[Row, ...] = field(repr=False)
    over: datetime | None = None  # nothing of it happens any more; None: not while it is played

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.namespace}-{self.seed}"

    def tasks(self) -> tuple[dict[str, Any], ...]:
        """The tasks of EVALUATION.md for this incident."""
        expect = [expectation.as_json() for expectation in (*self.cause, self.runbook)]
        now = self.end.strftime("%Y-%m-%dT%H:%M:%SZ")
        turns = [{"role": "user", "content": turn} for turn in self.turns]
        return (
            {"id": self.id, "group": self.kind, "now": now, "question": self.question, "expect": expect},
            {"id": f"{self.id}-steps", "group": "steps", "now": now, "turns": turns, "expect": expect[-1:]},
        )


def cast_victims(estate: Estate, namespace: str, kinds: tuple[str, ...], seed: int) -> dict[str, str]:
    """Choose a workload for each kind: never the same twice, and where it can be no neighbour of another.

    The seed rotates the list of candidates, so that three seeds in a row hit three different workloads.
    """
    victims: dict[str, str] = {}
    for name in sorted(kinds, key=lambda kind: (len(KINDS[kind].candidates), kind)):
        candidates = list(KINDS[name].candidates)
        Random(name).shuffle(candidates)
        turn = seed % len(candidates)
        rotated = [c for c in candidates[turn:] + candidates[:turn] if c not in victims.values()]
        taken = {neighbour for v in victims.values() for neighbour in _neighbours(estate, namespace, v)}
        victims[name] = min(rotated, key=lambda candidate: candidate in taken)
    return victims


def _neighbours(estate: Estate, namespace: str, name: str) -> set[str]:
    return {*estate.callers(name), *estate.service(namespace, name).calls}


def build_incident(
    estate: Estate, kind: str, victim: str, *, namespace: str, seed: int, start: datetime, end: datetime, alone: bool,
    over: datetime | None = None,
) -> Incident:  # fmt: skip
    """Write one incident. `alone`: it is the only one in its namespace, so the symptom alone may be asked about."""
    duration_s = (end - start).total_seconds()
    stage = Stage.of(
        estate, kind, victim, namespace=namespace, seed=seed, start_s=start.timestamp(), duration_s=duration_s
    )
    form = KINDS[kind]
    plot = form.plot(stage)
    about_caller = alone and form.caller_question
    where = "" if alone and len(estate.shops) == 1 else f" in {namespace}"
    asked = f"{stage.caller if about_caller else victim}{where}"
    return Incident(
        kind=kind,
        seed=seed,
        start=start,
        end=end,
        namespace=namespace,
        workload=victim,
        callers=stage.callers,
        node=plot.node,
        question=(form.caller_question if about_caller else form.question).format(name=asked) + "?",
        cause=plot.cause,
        runbook=Expectation(kind="runbook", path=form.runbook, section=form.section),
        turns=(f"what is wrong with {asked}?", "and what should I do about it?"),
        rows=plot.rows,
        over=over,
    )
