"""Plants secrets, redacts, and looks for what is left of them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from processors.redact import Redactor
from schemas.settings import Redaction
from tests.redaction.families import PASSWORDS, PERSONAL, PROVIDERS
from tests.redaction.shapes import WHOLES, shapes_of

WINDOW: Final = 8  # so many characters of a secret in a row are a leak
SETTINGS: Final = Redaction(ip_addresses=True, names=True)
GOALS: Final = {"provider": 0.995, "password": 0.95}


@dataclass(frozen=True, slots=True)
class Planted:
    family: str
    kind: str
    shape: str
    messages: list[str]
    pieces: list[str]  # of the secret: nothing of them may remain


@dataclass(slots=True)
class Found:
    kind: str
    planted: int = 0
    found: int = 0
    partial: int = 0  # something was hidden, and something remained
    missed: Counter[str] = field(default_factory=Counter)  # by shape
    examples: list[str] = field(default_factory=list)

    @property
    def recall(self) -> float:
        return self.found / self.planted


def plant(seed: int, per_family: int, *, held_out: bool = False) -> Iterator[Planted]:
    """The same ones for the same seed."""
    for family in (*PROVIDERS, *PASSWORDS, *PERSONAL):
        random = Random(f"{seed} {family.name}")
        shapes = list(shapes_of(family, held_out=held_out).items())
        for number in range(per_family):
            name, shape = shapes[number % len(shapes)]
            secret = family.make(random)
            key = random.choice(family.keys) if family.keys else ""
            yield Planted(family.name, family.kind, name, [shape(secret, key, random)], [_told(secret)])
    for name, (kind, whole) in () if held_out else WHOLES.items():
        random = Random(f"{seed} {name}")
        for _ in range(per_family):
            yield Planted(name, kind, name, *whole(random))


def _told(secret: str) -> str:
    """What of it is secret: of a webhook, the last part of its path."""
    return secret.rpartition("/")[2] if secret.startswith("https://") else secret


def left(piece: str, text: str) -> bool:
    """Whether a run of the piece is still in the text."""
    width = min(WINDOW, len(piece))
    return any(piece[at : at + width] in text for at in range(len(piece) - width + 1))


def measure(planted: Iterable[Planted], redact: Redactor) -> dict[str, Found]:
    families: dict[str, Found] = {}
    for each in planted:
        row = families.setdefault(each.family, Found(each.kind))
        redacted = [redact(message) for message in each.messages]
        row.planted += 1
        text = "\n".join(redacted)
        if not any(left(piece, text) for piece in each.pieces):
            row.found += 1
            continue
        row.partial += any(not left(piece, text) for piece in each.pieces) or not all(p in text for p in each.pieces)
        row.missed[each.shape] += 1
        if len(row.examples) < 3:
            row.examples.append(text[:400])
    return families


def by_kind(families: dict[str, Found]) -> dict[str, float]:
    kinds = sorted({row.kind for row in families.values()})
    rows = {kind: [row for row in families.values() if row.kind == kind] for kind in kinds}
    return {kind: sum(r.found for r in rows[kind]) / sum(r.planted for r in rows[kind]) for kind in kinds}
