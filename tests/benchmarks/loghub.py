"""Real lines of eight systems with every number and identifier drawn anew; the shop's where the data is absent."""

import csv
import random
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final

from tests.benchmarks import corpus

SHARED: Final = Path(__file__).parents[3] / "shared"
FOLDER: Final = SHARED / "data" / "logs" / "loghub"
GENERATED: Final = "shop"
_VARIABLE: Final = re.compile(
    r"(?P<address>(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]))"
    r"|(?P<hex>(?<!\w)(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{4,}(?!\w))"
    r"|(?P<number>(?<![\w.:/-])\d+(?![\w.:/-]))"  # stands alone: as long as its value wants
    r"|\d+",
    re.ASCII,
)


def systems() -> tuple[str, ...]:
    return tuple(sorted(each.name for each in FOLDER.glob("*/"))) or (GENERATED,)


@cache
def labelled(system: str) -> tuple[tuple[str, str], ...]:
    """Messages and the templates that people gave them; neither time nor level before them."""
    (file,) = FOLDER.glob(f"{system}/*_structured_corrected.csv")
    with file.open(encoding="utf-8", errors="replace", newline="") as rows:
        return tuple((row["Content"], row["EventTemplate"]) for row in csv.DictReader(rows))


def lines(system: str, count: int, seed: int) -> Iterator[str]:
    """`count` messages in random order; the same ones for the same seed."""
    source = random.Random(f"{system} {seed}")
    if system == GENERATED:
        yield from (_anew(log.text, source) for log in corpus.lines(count, end_s=1_700_000_000.0))
        return
    yield from islice(_endless([text for text, _ in labelled(system)], source), count)


def _endless(texts: list[str], source: random.Random) -> Iterator[str]:
    while True:
        source.shuffle(texts)
        for text in texts:
            yield _anew(text, source)


def _anew(text: str, source: random.Random) -> str:
    def drawn(match: re.Match[str]) -> str:
        found = match[0]
        match match.lastgroup:
            case "address":
                return ".".join(str(source.randrange(256)) for _ in range(4))
            case "hex":
                return f"{source.getrandbits(4 * len(found)):0{len(found)}x}"
            case "number":
                return str(source.randrange(10 ** source.randint(1, len(found) + 1)))
            case _:
                return f"{source.randrange(10 ** len(found)):0{len(found)}}"

    return _VARIABLE.sub(drawn, text)
