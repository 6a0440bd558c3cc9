"""Symptoms become incidents: grouped by time, owner and dependency; opened, updated, merged, resolved."""

from typing import Any

from processors.insights.topology import Topology
from schemas.insight_settings import Correlation
from schemas.insights import Insight, Sign
from schemas.summaries import Feedback

Json = dict[str, Any]


class Correlator:
    """The incidents of one cluster."""

    def __init__(self, cluster: str, topology: Topology, settings: Correlation) -> None:
        self._cluster, self._topology, self._settings = cluster, topology, settings

    def add(self, sign: Sign, now_ms: int) -> None:
        """Take a symptom into the incident that it belongs to, or hold it until one is opened."""

    def judge(self, feedback: Feedback) -> bool:
        """Confirm, or mute what was rejected; False when the incident is not of this cluster."""
        return False

    def advance(self, now_ms: int) -> list[Insight]:
        """The revisions that are due at this event time."""
        return []

    def dump(self) -> Json:
        return {}

    @classmethod
    def load(cls, dumped: Json, cluster: str, topology: Topology, settings: Correlation) -> "Correlator":
        return cls(cluster, topology, settings)
