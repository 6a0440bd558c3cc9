"""Symptoms become incidents."""

from typing import Any

from processors.insights.correlate import Correlator
from processors.insights.topology import Topology
from schemas.insight_settings import Correlation
from schemas.insights import Symptom
from schemas.records import Resource

T = 1_700_000_000_000


def symptom(workload: str = "checkout", pod: str = "checkout-1", start_s: int = 0, **told: Any) -> Symptom:
    told = {"kind": "event", "name": "BackOff", "strength": 0.9, "opens": True, "severity": 13, "namespace": "shop",
            "node": "n1", "last_s": start_s} | told  # fmt: skip
    resource = Resource("c", told.pop("namespace"), workload, pod, "", told.pop("node"))
    start_ms = T + 1000 * start_s
    identity = f"{told['kind']} {told['name']} {'/'.join(resource)} {start_s}"
    return Symptom(
        id=identity, fingerprint=identity, resource=resource, start_ms=start_ms, seen_ms=start_ms,
        last_ms=T + 1000 * told.pop("last_s"), text="it is said", evidence="event-1", **told,
    )  # fmt: skip


def test_one_workload_is_one_incident_from_its_opening_to_its_end() -> None:
    correlator = Correlator("c", Topology(), Correlation())
    states = []
    for second in range(0, 600, 10):
        if second < 60:
            correlator.add(symptom(pod=f"checkout-{second}", start_s=second), T + 1000 * second)
        states += [(each.state, each.revision) for each in correlator.advance(T + 1000 * second)]
    assert states[0] == ("opened", 1)
    assert states[-1][0] == "resolved"
    assert [revision for _, revision in states] == list(range(1, len(states) + 1))
