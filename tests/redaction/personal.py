"""Recall on somebody else's sentences with made-up people: `safety/pii` beside the project."""

import json
from collections import Counter
from pathlib import Path
from typing import Final

from processors.redact import Redactor

CLAIMED: Final = ("EMAIL_ADDRESS", "CREDIT_CARD", "IP_ADDRESS")  # the last one by setting


def measure(shared: Path, redact: Redactor) -> dict[str, tuple[int, int]]:
    """By type of entity: how many, and how many of them were hidden whole."""
    there, hidden = Counter[str](), Counter[str]()
    for line in (shared / "safety/pii/generated_large.jsonl").read_text().splitlines():
        sentence = json.loads(line)
        redacted = redact(sentence["full_text"])
        for span in sentence["spans"]:
            there[span["entity_type"]] += 1
            hidden[span["entity_type"]] += span["entity_value"] not in redacted
    return {kind: (there[kind], hidden[kind]) for kind in sorted(there, key=lambda k: (k not in CLAIMED, k))}
