"""How often something is usually said in a minute, and how surprising more of it is. Pure.

The count of a minute is Poisson with a rate that nobody knows. After S lines in n minutes that rate is Gamma of S + 1/2
and n (Jeffreys' prior), so that the next count is negative binomial; what varies more than Poisson has a smaller shape.
"New" is the same with S = 0: a pattern never said in the n minutes that its workload was heard.
"""

import math
from dataclasses import dataclass
from typing import Final

PRIOR: Final = 0.5
MEMORY: Final = 60.0  # minutes in which what was learned loses its weight by e: a morning is forgotten by noon
_LEAST_MINUTES: Final = 1.0
_KEEP: Final = 1 - 1 / MEMORY


@dataclass(slots=True)
class Usual:
    """Counts per minute, the recent ones weigh more."""

    minutes: float = 0.0  # the weight of all that was heard, at most MEMORY
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / max(self.minutes, _LEAST_MINUTES)

    def silent(self, minutes: int) -> "Usual":
        """After so many minutes without a line."""
        if minutes <= 0:
            return self
        kept = _KEEP**minutes
        return Usual(self.minutes * kept + (1 - kept) * MEMORY, self.total * kept, self.squares * kept)

    def learn(self, count: int) -> None:
        self.minutes = self.minutes * _KEEP + 1
        self.total = self.total * _KEEP + count
        self.squares = self.squares * _KEEP + count * count

    def surprise(self, count: int, minutes: float = 1.0) -> float:
        """-log10 of the probability of `count` or more in so many minutes: 3 is one in a thousand.

        The tail is bounded by a geometric series, so that the truth is never less surprising by more than a little.
        """
        heard = max(self.minutes, _LEAST_MINUTES)
        rate = (self.total + PRIOR) / heard
        mean = rate * minutes
        if count <= mean:
            return 0.0
        spread = max(self.squares / heard - (self.total / heard) ** 2 - self.mean, 0.0) / rate**2
        shape = 1 / (1 / (self.total + PRIOR) + spread / minutes)
        odds = mean / (shape + mean)
        ratio = odds * (count + shape) / (count + 1)
        ways = math.lgamma(count + shape) - math.lgamma(shape) - math.lgamma(count + 1)
        log = ways + shape * math.log1p(-odds) + count * math.log(odds) - math.log1p(-min(ratio, 1 - 1e-9))
        return max(-log / math.log(10), 0.0)
