"""Where in an evidence list the labelled expectations are: the judge of the demo and of the evaluation sets. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.context import Evidence


def ranks(expect: Sequence[Mapping[str, Any]], evidence: Sequence[Evidence]) -> list[int | None]:
    """The position of each expectation, from 1; runbooks are ranked among runbook sections, the rest among the rest."""
    guides = [e for e in evidence if e.kind == "runbook"]
    facts = [e for e in evidence if e.kind != "runbook"]
    return [
        next((n for n, e in enumerate(guides if x["kind"] == "runbook" else facts, 1) if meets(x, e)), None)
        for x in expect
    ]


def meets(expectation: Mapping[str, Any], evidence: Evidence) -> bool:
    """Whether one piece of evidence is what an expectation asks for."""
    kind = expectation["kind"]
    if kind == "runbook":
        section = expectation.get("section", "")
        return evidence.entity == f"runbook/{expectation['path']}" and section.lower() in evidence.title.lower()
    if kind == "evidence":
        signal = expectation.get("signal", "")
        return (not signal or evidence.kind == signal) and re.search(expectation["regex"], evidence.text) is not None
    if kind == "object":  # a workload or a node; a pod counts as its owner
        return expectation["name"] in (evidence.workload, evidence.entity.partition("/")[2])
    raise ValueError(f"an expectation of kind {kind!r} is not known")
