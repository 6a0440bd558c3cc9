"""A labelled set of alerts and the runbooks that they belong to: 152 pairs, each asked without and with its name.

There is no telemetry in it: what is measured is finding the right one of 108 runbooks by what an alert says.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from tests.evaluation.folders import copy_runbooks, write_described

NOW = "2026-11-20T20:15:00Z"  # of no importance


def write_pairs(source: Path, out: Path) -> Path:
    """The set folder. Raises OSError."""
    copy_runbooks(source, out)
    lines = (source / "runbooks/pairs.jsonl").read_bytes().splitlines()
    return write_described(out, name="pairs", now=NOW, inputs=(), tasks=_tasks(orjson.loads(line) for line in lines))


def _tasks(pairs: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for pair in pairs:
        expect = [{"kind": "runbook", "path": path} for path in pair["expected"]]
        for group, question in (
            ("without name", pair["query"]),
            ("with name", f"{pair['alert']}: {pair['query']}"),
        ):
            identity = f"{pair['id']}-{group.replace(' ', '-')}"
            yield {"id": identity, "group": group, "question": question, "expect": expect}
