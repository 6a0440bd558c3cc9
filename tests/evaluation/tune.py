"""`python -m tests.evaluation.tune [SETS]`: find the weights of ranking, and say honestly whether they are better.

Answers are recorded once, fifty pieces each; other settings are then tried by the product's own law of scores
(`cag.rank.reordered`), without asking again. What was not among the fifty cannot come back, and fusion and `recent_s`
are in the parts already: these stay as they are. Settings are chosen on all families of sets but one and judged on that
one, in turn: seeds of one generator are one family, since they know each other. The result is stored by hand, as
defaults of `Ranking`, and only when it is better on what it was not chosen on.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import numpy as np
import orjson
import typer
from rich.progress import track
from rich.table import Table

from cag.rank import PARTS, reordered
from deploy.judge import ranks
from schemas.answer_settings import Ranking
from schemas.context import Context
from schemas.errors import FreshetError
from tests.benchmarks.machine import hardware
from tests.evaluation.report import DEPTH, recorded
from tests.evaluation.run import abstains
from tests.evaluation.stack import notes, out, sets_asked
from tests.evaluation.standing import chosen

RECORDED: Final = 50  # pieces of each answer, the most that the API gives
FACTORS: Final = (
    "symptom", "numbers_only", "chatter", "news", "related", "upstream", "kind_damping", "place_damping",
    "object_damping",
)  # fmt: skip
WIDE, NEAR = 0.5, 0.15  # spread of the logarithm of weights, around the hand-set ones and around the best so far
LEADERS: Final = 4  # of the first round, around which the second looks
GAIN: Final = 0.005  # of nDCG on held-out families; less is noise
LOSS: Final = 0.01  # the most that any one of them may lose


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One answer, and what was right. Runbooks have a list of their own, which these settings do not order."""

    name: str  # of the set
    expect: tuple[Mapping[str, str], ...]
    abstain: bool
    context: Context

    @property
    def family(self) -> str:
        return re.sub(r"-\d+$", "", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What settings make of one answer."""

    family: str
    ndcg: float | None  # None: nothing was expected
    recall: float | None  # of expectations, in the first five
    abstained_wrong: bool


def main(
    sets: Annotated[str, typer.Argument(metavar="[SETS]", help="As of `python -m tests.evaluation`.")] = "",
    full: Annotated[bool, typer.Option("--full", help="All seeds of the shop.")] = False,
    tries: Annotated[int, typer.Option(min=2, help="Settings to try, half of them near the best.")] = 120,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 7,
    record: Annotated[Path, typer.Option(help="Where answers are kept.")] = Path(".bench/tuning.json"),
    again: Annotated[bool, typer.Option("--again", help="Use the answers that are there; ask nothing.")] = False,
    state: Annotated[Path | None, typer.Option(help="Use the services of this folder; own ones otherwise.")] = None,
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
) -> None:
    """Compare the settings of ranking with others on sets that those were not chosen on. Exit code 0 either way."""
    began = time.monotonic()
    try:
        if not again:
            names = chosen(sets or "shop,must-gather,train-ticket", full=full)
            asked = sets_asked(names, state=state, cache=cache, limit=RECORDED, embedder=None)
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_bytes(orjson.dumps(recorded(dict(asked))))
        answers = read(record)
    except (FreshetError, httpx.HTTPError, ValueError, OSError) as error:
        notes.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    pool = search(answers, tries, np.random.default_rng(seed))
    found = report(pool)
    found |= {"answers": len(answers), "tries": len(pool), "seconds": round(time.monotonic() - began)}
    typer.echo(orjson.dumps({"name": "tune", "ok": True, **found, "hardware": hardware()}).decode())


def read(file: Path) -> list[Recorded]:
    """What `python -m tests.evaluation --limit 50 --json FILE` has written too. Raises OSError and ValueError."""
    sets = orjson.loads(file.read_bytes())
    return [
        Recorded(
            name=name,
            expect=tuple(x for x in task["expect"] if x["kind"] != "runbook"),
            abstain=task["abstain"],
            context=Context.model_validate(task["context"]),
        )
        for name, each in sets.items()
        for task in each["tasks"]
        if task["abstain"] or any(x["kind"] != "runbook" for x in task["expect"])
    ]


def judged(answers: Sequence[Recorded], ranking: Ranking) -> list[Judged]:
    """Every answer under these settings."""
    return [_judged(answer, ranking) for answer in answers]


def _judged(answer: Recorded, ranking: Ranking) -> Judged:
    evidence = reordered(answer.context.evidence, ranking, DEPTH)
    places = ranks(answer.expect, evidence)
    ideal = sum(1 / np.log2(place + 1) for place in range(1, len(places) + 1))
    gained = sum(1 / np.log2(rank + 1) for rank in places if rank)
    return Judged(
        family=answer.family,
        ndcg=min(float(gained / ideal), 1.0) if places else None,
        recall=sum(bool(rank and rank <= 5) for rank in places) / len(places) if places else None,
        abstained_wrong=abstains(answer.context.plan, evidence) != answer.abstain,
    )


Tried = tuple[Ranking, list[Judged]]


def search(answers: Sequence[Recorded], tries: int, rng: np.random.Generator) -> list[Tried]:
    """The settings as they are, then others: widely around them, then near to the best of those."""
    pool: list[Tried] = [(Ranking(), judged(answers, Ranking()))]
    wide = [varied(Ranking(), WIDE, rng) for _ in range(tries // 2)]
    pool += [(r, judged(answers, r)) for r in track(wide, "settings far off", console=notes)]
    leaders = sorted(pool, key=lambda tried: -goal(tried[1]))[:LEADERS]
    near = [varied(leaders[n % LEADERS][0], NEAR, rng) for n in range(tries - len(wide))]
    return pool + [(r, judged(answers, r)) for r in track(near, "near to the best", console=notes)]


def varied(ranking: Ranking, spread: float, rng: np.random.Generator) -> Ranking:
    """Weights multiplied at random and made to add up to what they did; factors moved, within 0 and 1."""
    weights = {name: getattr(ranking, name) * float(np.exp(rng.normal(0, spread))) for name in PARTS}
    whole = sum(getattr(ranking, name) for name in PARTS) / sum(weights.values())
    factors = {name: float(np.clip(getattr(ranking, name) + rng.normal(0, spread / 4), 0.05, 1.0)) for name in FACTORS}
    moved = {name: round(value * whole, 3) for name, value in weights.items()}
    return ranking.model_copy(update=moved | {name: round(value, 3) for name, value in factors.items()})


def goal(found: Sequence[Judged], *, without: str = "") -> float:
    """nDCG where something was to be found, less what was named or kept back wrongly: each family counts the same."""
    families = {one.family for one in found} - {without}
    return float(np.mean([_family_goal([one for one in found if one.family == family]) for family in families]))


def _family_goal(found: Sequence[Judged]) -> float:
    return _mean([one.ndcg for one in found if one.ndcg is not None]) - 0.5 * _mean(
        [float(one.abstained_wrong) for one in found]
    )


def report(pool: Sequence[Tried]) -> dict[str, Any]:
    """The table of held-out families, what to set, and whether to."""
    columns = ("nDCG@10 as set", "tuned", "recall@5 as set", "tuned", "abstained wrongly", "tuned")
    table = Table("held out", "answers", *columns)
    hand, asset = pool[0]
    gains, errors, folds = [], [], {}
    for family in sorted({one.family for one in asset}):
        _, tuned = max(pool, key=lambda tried, left=family: goal(tried[1], without=left))  # type: ignore[misc]
        before, after = (_row(found, family) for found in (asset, tuned))
        told = [
            f"{value:.3f}" if isinstance(value, float) else str(value)
            for value in chain(*zip(before, after, strict=True))
        ]
        table.add_row(family, str(sum(one.family == family for one in asset)), *told)
        gains.append(after[0] - before[0])
        errors.append(after[2] - before[2])
        folds[family] = {"as_set": before, "tuned_on_the_others": after}
    out.print(table)
    gain, best = float(np.mean(gains)), max(pool, key=lambda tried: goal(tried[1]))[0]
    better = gain > GAIN and min(gains) >= -LOSS and sum(errors) <= 0
    verdict = (
        "better. The best on all sets, to be stored as defaults of Ranking:"
        if better
        else "not better, so the settings stay. For the record, the best on all sets:"
    )
    out.print(
        f"Held out, settings chosen on the other families change nDCG@10 by {gain:+.3f} on average and wrong "
        f"abstentions by {sum(errors):+d}: {verdict}",
        soft_wrap=True,
    )
    changed = {name: value for name in (*PARTS, *FACTORS) if (value := getattr(best, name)) != getattr(hand, name)}
    for name, value in changed.items():
        out.print(f"FRESHET_RANKING__{name.upper()}={value}   # was {getattr(hand, name)}", markup=False)
    return {"better": better, "gain": round(gain, 4), "held_out": folds, "best": changed}


def _row(found: Sequence[Judged], family: str) -> tuple[float, float, int]:
    mine = [one for one in found if one.family == family]
    return _ndcg(mine), _recall(mine), sum(one.abstained_wrong for one in mine)


def _ndcg(found: Sequence[Judged]) -> float:
    return _mean([one.ndcg for one in found if one.ndcg is not None])


def _recall(found: Sequence[Judged]) -> float:
    return _mean([one.recall for one in found if one.recall is not None])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


if __name__ == "__main__":
    typer.run(main)
