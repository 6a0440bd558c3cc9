"""The sets that `make eval` runs by itself: what they are called, and who writes them."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from tests.evaluation import must_gather, train_ticket
from tests.evaluation.folders import SHARED
from tests.evaluation.pairs import write_pairs
from tests.evaluation.sets import LabelledSet
from tests.evaluation.shop import write_shop

SEEDS: Final = (1, 2, 3, 4, 5)
SHORT_SEEDS: Final = (1, 2)  # what there is time for; the others are for the long run
Write = Callable[[Path], Path]
WRITERS: Final[dict[str, Write]] = {
    "pairs": partial(write_pairs, SHARED),
    **{f"shop-{seed}": partial(write_shop, seed) for seed in SEEDS},
    "must-gather": partial(must_gather.write_set, SHARED),
    "train-ticket": partial(train_ticket.write_set, SHARED),
}


def chosen(names: str, *, full: bool) -> list[str]:
    """Names of standing sets, or folders: `shop` is all its seeds; nothing is everything that there is data for."""
    seeds = [f"shop-{seed}" for seed in (SEEDS if full else SHORT_SEEDS)]
    standing = ["pairs", *seeds, "must-gather", "train-ticket"] if SHARED.is_dir() else seeds
    parts = [part.strip() for part in names.split(",") if part.strip()] or standing
    return list(dict.fromkeys(name for part in parts for name in (seeds if part == "shop" else [part])))


def written(names: Iterable[str], home: Path) -> Iterator[LabelledSet]:
    """Each set, ready to be loaded; standing ones are written below `home` first. Raises OSError and ValueError."""
    for name in names:
        write = WRITERS.get(name)
        try:
            yield LabelledSet.read(write(home / name) if write else Path(name))
        except (OSError, ValueError) as error:
            known = "" if write or Path(name).is_dir() else f" (and no standing set either: {', '.join(WRITERS)})"
            raise ValueError(f"{name} is no labelled set: {error}{known}") from None
