"""A labelled set from the generated shop: every kind of incident in an hour, one after the other and overlapping.

What is right is known from the play: who was hit, what the cause says, which runbook helps, and when it began. So the
same incidents also give questions about what has not happened yet, about workloads that nothing happens to, and by
askers who may see another namespace only.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from deploy.shop.delivery import RUNBOOKS, write_set
from deploy.shop.incidents import Incident
from deploy.shop.player import Scenario, passing_incidents, play
from deploy.shop.script import Fires
from deploy.shop.topology import HOME, SHOP_SERVICES, STATE

END: Final = datetime(2026, 11, 19, 20, 5, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
ELSEWHERE: Final = "payments-infra"  # a namespace of the same cluster that nothing happens in
HEALTHY: Final = 3  # workloads asked about that nothing happens to
Task = dict[str, Any]


def write_shop(seed: int, out: Path, *, end: datetime = END, rate: float | None = None) -> Path:
    """The set folder of one seed. Seeds play on different days."""
    scenario = passing_incidents(seed, end=end + timedelta(days=seed - 5))
    scenario = replace(scenario, binary=False, rate=rate or scenario.rate)
    write_set(play(scenario), scenario.incidents, out, name=f"shop-{seed}", tasks=list(tasks_of(scenario)))
    return out


def tasks_of(scenario: Scenario) -> Iterator[Task]:
    """Everything that is asked, each at its own moment."""
    for incident in scenario.incidents:
        yield from _while_it_happens(incident, scenario.end)
        yield from _before_it_began(incident, scenario.end)
    yield from _nothing_wrong(scenario)


def _while_it_happens(incident: Incident, end: datetime) -> Iterator[Task]:
    victim, caller = incident.workload, incident.callers[0] if incident.callers else "gateway"
    cause = [each.as_json() for each in incident.cause]
    runbook = incident.runbook.as_json()
    grown, began = incident.end, incident.start
    alert = next(row for row in incident.rows if isinstance(row, Fires) and row.runbook == incident.runbook.path)
    fires = began + timedelta(seconds=alert.after_s) + 2 * MINUTE
    yield _task(incident, "symptom", grown, cause + [runbook], question=incident.question)
    vague = f"Customers of {HOME} complain, it began a few minutes ago. What is going on?"
    yield _task(incident, "vague", began + 4 * MINUTE, cause, question=vague)
    named = f"{alert.name} is firing for {victim}. What is behind it and what should I do?"
    yield _task(incident, "by name", fires, cause + [runbook], question=named)
    steps = (incident.turns[0], "Something is wrong there.", incident.turns[1])
    yield _task(incident, "follow-up", grown + MINUTE, [runbook], turns=steps, number="steps")
    other = (f"what is wrong with {caller}?", f"{caller} returns errors, because others fail.", f"and {victim}?")
    yield _task(incident, "follow-up", grown + MINUTE, cause, turns=other, number="other")
    past = f"What was wrong with {victim} between {began:%H:%M} and {grown:%H:%M} UTC?"
    yield _task(incident, "past", end, cause, question=past)


def _before_it_began(incident: Incident, end: datetime) -> Iterator[Task]:
    """Nothing of it may appear: asked at that time, or later about that time."""
    before = incident.start - MINUTE
    forbid = [telltale(incident)]
    yield _task(incident, "asked before", before, [], question=incident.question, forbid=forbid)
    past = f"What was going on with {incident.workload} at {before - MINUTE:%H:%M} UTC?"
    yield _task(incident, "asked about before", end, [], question=past, forbid=forbid)


def _nothing_wrong(scenario: Scenario) -> Iterator[Task]:
    first, last = scenario.incidents[0], scenario.incidents[-1]
    before, middle = first.start - MINUTE, scenario.incidents[len(scenario.incidents) // 2].end
    quiet: Task = {"abstain": True, "expect": []}
    yield {"id": "calm", "group": "quiet", "now": _iso(before), "question": f"is anything wrong in {HOME}?", **quiet}
    about_first = f"is {first.workload} healthy?"
    yield {"id": "not-yet", "group": "quiet", "now": _iso(before), "question": about_first, **quiet}
    over = f"has anything been wrong with {last.workload} in the last 5 minutes?"
    yield {"id": "over", "group": "quiet", "now": _iso(scenario.end), "question": over, **quiet}
    for place, name in enumerate(untouched(scenario)):
        question = (f"is {name} healthy right now?", f"any problems with {name} in the last 10 minutes?")[place % 2]
        yield {"id": f"healthy-{name}", "group": "quiet", "now": _iso(middle), "question": question, **quiet}
    for incident in (first, last):
        yield {
            **_task(incident, "other scope", incident.end, [], question=incident.question),
            "scope": {"namespaces": [ELSEWHERE]}, "forbid": [telltale(incident)], "abstain": True,
        }  # fmt: skip


def telltale(incident: Incident) -> str:
    """What only the incident itself says: the wordings of its cause that no runbook quotes."""
    pages = [page.read_text() for page in RUNBOOKS.glob("*.md")]
    wordings = incident.cause[0].regex.split("|")
    return "|".join(each for each in wordings if not any(re.search(each, page) for page in pages))


def untouched(scenario: Scenario) -> list[str]:
    """Some workloads of the shop that no incident touches: no victim, nobody's caller or store, on no node at fault."""
    hit = {incident.workload for incident in scenario.incidents}
    touched = hit | {caller for incident in scenario.incidents for caller in incident.callers}
    touched |= {STATE[name] for name in hit if name in STATE} | {"gateway"}
    nodes = {incident.node for incident in scenario.incidents} - {""}
    free = [
        service.name
        for service in SHOP_SERVICES
        if service.name not in touched
        and not nodes & {pod.node for pod in scenario.estate.pods_of(HOME, service.name)}
    ]  # fmt: skip
    Random(scenario.seed).shuffle(free)
    return free[:HEALTHY]


def _task(
    incident: Incident,
    group: str,
    now: datetime,
    expect: list[dict[str, str]],
    *,
    question: str = "",
    turns: tuple[str, ...] = (),
    number: str = "",
    **more: Any,
) -> Task:
    roles = ("user", "assistant")
    asked: Mapping[str, Any] = (
        {"turns": [{"role": roles[n % 2], "content": turn} for n, turn in enumerate(turns)]}
        if turns
        else {"question": question}
    )
    identity = "-".join(part for part in (incident.kind, group.replace(" ", "-"), number) if part)
    return {"id": identity, "group": group, "now": _iso(now), **asked, "expect": expect, **more}


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
