"""Probable causes of an incident, ranked: the earliest, the most upstream, the most specific; and why, in words."""

from collections.abc import Sequence

from processors.insights.topology import Topology
from schemas.insights import Cause, Change, Symptom


def ranked(symptoms: Sequence[Symptom], changes: Sequence[Change], topology: Topology) -> tuple[Cause, ...]:
    """The most probable first; the same for the same symptoms in whatever order."""
    return ()
