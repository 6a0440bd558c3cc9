"""What metrics are about, whether a change of one hurts, and how much several weak symptoms prove together. Pure.

Evidence is counted in decades of chance: of what is independent it adds up. One series of thousands that leaves its
band by 3 decades is nothing: a thousand series do so 144 times a day by chance alone (`series.TOLD`), one about every
ten minutes. That one of the 50 series nearby does so within the same two minutes has a chance of about 1 in 100, that
two do, of 1 in 10,000: three together come by chance once in weeks, though no more than an hour of history is known of
any of them. So the decades of related places add up to what one alone must have (`series.OPENS`), less one decade of
each for the choice among so many neighbours, and another of what is two calls away: there are ten times as many.

Chance is not all. Load moves processors, memory, traffic of whole call trees at once, and hurts nobody: such changes
count no more together than the latencies, errors, shortfalls and queues that changed with them. And series of the same
sort at the same place, such as percentiles, move together: the further ones count a third each, and all together no
more than the strongest.
"""

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from processors.insights.incident import place_of
from schemas.insights import Entity, Symptom
from schemas.records import WARN

FURTHER: Final = 1 / 3  # of what another series of the same sort and place counts
FARTHER: Final = 0.2  # a decade, of the five that open
CERTAIN: Final = 0.999  # strength; beyond, decades mean nothing
RISES: Final = ("errors", "latency", "saturation")  # sorts that hurt when they rise
LOAD: Final = ("resource", "traffic")
CHANGED: Final = ("metric-shift", "metric-spike", "metric-trend")
Decades = dict[tuple[Entity, str], list[float]]  # of each place and kind; five are one
_SORTS: Final = (  # the first that fits
    ("errors", r"error|err_|fail|(?<!de)fault|exception|[45]xx|time(?:d_?)?outs?(?:_|$)|reject|drop|discard"
     r"|retr(?:y|ies|ans)|throttl|restart|(?:^|_)oom|evict|abort|unavail|unhealthy|not_?ready|unreachable|lost"),
    ("availability", r"avail(?:ability|able_(?:replica|endpoint|ratio))|success|apdex|uptime|health|(?:^|_)up$|_ready"),
    ("latency", r"latenc|duration|response.?time|_time_(?:ms|seconds|us)|elapsed|delay|rtt"),
    ("saturation", r"saturat|backlog|queue|pending|waiting|(?:^|_)lag(?:_|$)|pressure|blocked|exhaust"),
    ("resource", r"cpu|mem(?:_|ory|$)|heap|disk|(?:^|_)fs_|filesystem|inode|file_?desc|fds\b|thread"
     r"|goroutine|gc_|load\d"),
    ("traffic", r"request|quer|traffic|throughput|_?ops\b|[qrt]ps\b|bytes|packets|receive|transmit|connections"),
)  # fmt: skip
_COMPILED: Final = tuple((sort, re.compile(pattern, re.IGNORECASE)) for sort, pattern in _SORTS)
_FAILED: Final = re.compile(r"5\d\d|5xx|error|fail(?:ed|ure)", re.IGNORECASE)
_OUTCOME: Final = re.compile(r"code|status|outcome|result", re.IGNORECASE)


@lru_cache(maxsize=4096)
def sort_of(name: str) -> str:
    """What a metric of this name is about; empty when nothing is known."""
    return next((sort for sort, pattern in _COMPILED if pattern.search(name)), "")


def sort_of_series(name: str, labels: Mapping[str, str]) -> str:
    """The same, where a label may say that these are the ones that failed."""
    failed = any(_OUTCOME.search(label) and _FAILED.fullmatch(value) for label, value in labels.items())
    return "errors" if failed and sort_of(name) in ("traffic", "") else sort_of(name)


def hurts(sort: str, *, up: bool) -> bool:
    return sort in RISES if up else sort == "availability"


def is_load(sort: str, *, up: bool) -> bool:
    """More or less of it alone hurts nobody; that nobody comes any more may."""
    return sort in LOAD and (up or sort != "traffic")


def is_metric(symptom: Symptom) -> bool:
    return symptom.kind in CHANGED


def is_harm(symptom: Symptom) -> bool:
    return is_metric(symptom) and symptom.severity >= WARN


def combined(symptoms: Iterable[Symptom], farther: Iterable[Symptom] = ()) -> float:
    """As independent evidence, 0..1; 0 of one symptom, or of several at one place that are of one kind but no metrics.

    Each pair of place and kind counts once, by its strongest symptom; metrics by place and sort.
    """
    found: Decades = {}
    harmless: Decades = {}
    for symptom in symptoms:
        _count(symptom, harmless if is_metric(symptom) and not is_harm(symptom) else found)
    others: Decades = {}
    for symptom in farther:
        _count(symptom, others)
    proven = _sum(found) + sum(max(0.0, _sum({key: each}) - FARTHER) for key, each in others.items())
    found |= others
    alone = len(found) + len(harmless) < 2 and not any(
        kind.startswith("metric ") and len(each) > 1 for (_, kind), each in found.items()
    )
    return 0.0 if alone else 1.0 - math.pow(10.0, -proven - min(proven, _sum(harmless)))


def _count(symptom: Symptom, found: Decades) -> None:
    kind = f"metric {sort_of(symptom.name)}" if is_metric(symptom) else symptom.kind
    decades = -math.log10(1.0 - min(max(symptom.strength, 0.0), CERTAIN))
    found.setdefault((place_of(symptom.resource), kind), []).append(decades)


def _sum(found: Decades) -> float:
    total = 0.0
    for (_, kind), each in found.items():
        most = max(each)
        total += most
        if kind.startswith("metric "):
            total += min(most, FURTHER * (sum(each) - most))
    return total
