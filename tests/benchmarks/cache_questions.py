"""Questions about runbooks: the ones that are remembered, others that mean the same, and near ones that do not.

Topics are the alerts of a runbook collection, by name and in words, and what their rules say. Near misses are the
dangerous ones: the alerts most alike, another purpose, a negation, another number, another severity, the opposite verb,
the other direction.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cag.word_index import spaced
from processors.embed import Embedder

SIBLINGS: Final = 4  # the most alike topics
# The first of each purpose is remembered, the others ask for the same.
PHRASES: Final = {
    "repair": (
        "How do I fix {}?", "how to fix {}", "What should I do about {}?", "how can we resolve {}",
        "Please tell me the steps to mitigate {}.", "{}: how do I resolve it?", "What is the procedure when {} fires?",
        "runbook for {} please", "How should {} be handled?", "we got {} again, what needs to be done?",
        "walk me through repairing {}", "best way of dealing with {}",
    ),
    "explain": (
        "What does {} mean?", "what is the meaning of {}", "Explain {}", "Can you explain what {} means?",
        "I see {} firing, what does that mean?", "describe {} to me",
    ),
    "reason": (
        "What causes {}?", "why does {} fire", "What are the reasons for {}?", "{} - what could be the cause?",
        "what can cause {}", "for what reason would {} happen?",
    ),
    "examine": (
        "How do I diagnose {}?", "how to investigate {}", "What is the best way to debug {}?",
        "{}: how can I troubleshoot this?", "steps to analyse {}", "which checks help to diagnose {}",
    ),
}  # fmt: skip
# Pairs of questions that share nearly all their words, each side about {}.
NEAR: Final = (
    ("How do I enable {} alerts?", "How do I disable {} alerts?"),
    ("How do I stop {}?", "How do I start {}?"),
    ("What to do when {} is too high?", "What to do when {} is too low?"),
    ("How do I increase the limit of {}?", "How do I decrease the limit of {}?"),
    ("What should I check before fixing {}?", "What should I check after fixing {}?"),
    ("What do I do if {} fires?", "What do I do if {} does not fire?"),
    ("Is it safe to ignore {}?", "Is it not safe to ignore {}?"),
    ("How to handle {} for 5 minutes?", "How to handle {} for 50 minutes?"),
    ("How to handle critical {}?", "How to handle warning {}?"),
    ("How do I fail over from etcd-0 to etcd-1 with {}?", "How do I fail over from etcd-1 to etcd-0 with {}?"),
    ("How do I fix {} on the master?", "How do I fix {} on the worker?"),
    ("Runbook for {} in staging", "Runbook for {} in production"),
    ("How do I silence {}?", "How do I fix {}?"),
    ("How do I add a member for {}?", "How do I remove a member for {}?"),
)

MEANT: Final = {"What do I do if {} fires?": "repair", "How do I fix {}?": "repair"}  # of those, what is a purpose too


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A hit is right when the question that is hit has the same meaning."""

    kind: str
    question: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    kept: dict[str, str]  # question -> meaning
    asks: tuple[Ask, ...]


def topics(folder: Path) -> dict[str, tuple[str, ...]]:
    """Of each alert: its name, its name in words, and the first sentence of its rule where there is one."""
    names = [file.stem for file in sorted((folder / "corpus").rglob("*.md")) if not file.stem.startswith("_")]
    said = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    first = {each["alert"]: re.split(r"(?<=[a-z])\.\s", each["query"])[0].rstrip(".") for each in said}
    return {name: (name, spaced(name).lower(), *([first[name]] if name in first else [])) for name in names}


def questions(folder: Path, embedder: Embedder) -> Questions:
    """Of every second alert two purposes and one side of each near pair are remembered; everything is asked."""
    told = topics(folder)
    names = list(told)
    vectors = np.asarray(embedder.embed([told[name][1] for name in names]))
    near = np.argsort(-(vectors @ vectors.T), axis=1, kind="stable")[:, 1 : SIBLINGS + 1]
    kept: dict[str, str] = {}
    asks: list[Ask] = []
    for number, name in enumerate(names[::2]):
        shown = told[name][number % 2]
        for place, (purpose, phrases) in enumerate(PHRASES.items()):
            meaning = f"{name}: {purpose}"
            if (number // 2 + place) % 2:  # the other purposes are near misses
                kept[phrases[0].format(shown)] = meaning
                asks += [Ask(kind="reworded", question=p.format(shown), meaning=meaning) for p in phrases[1:]]
                asks += [Ask(kind="as the rule says it", question=phrases[0].format(rule), meaning=meaning)
                         for rule in told[name][2:]]  # fmt: skip
            else:
                asks += [Ask(kind="another purpose", question=p.format(shown), meaning=meaning) for p in phrases[:2]]
        for sibling in sorted({names[row] for row in near[names.index(name)]}.difference(names[::2])):
            for purpose, phrases in PHRASES.items():
                question = phrases[0].format(told[sibling][number % 2])
                asks.append(Ask(kind="sibling", question=question, meaning=f"{sibling}: {purpose}"))
        for one, other in NEAR:
            kept[one.format(shown)] = f"{name}: {MEANT.get(one, one)}"
            asks.append(
                Ask(kind="opposite", question=other.format(shown), meaning=f"{name}: {MEANT.get(other, other)}")
            )
    return Questions(kept=kept, asks=tuple(dict.fromkeys(asks)))
