"""Who owns whom and who calls whom, learned from telemetry: pod, workload, node; peers named in logs and labels."""

from typing import Any

from schemas.summaries import Summary

Json = dict[str, Any]


class Topology:
    def see(self, summary: Summary) -> None:
        """Learn from one summary."""

    def dump(self) -> Json:
        return {}

    @classmethod
    def load(cls, dumped: Json) -> "Topology":
        return cls()
