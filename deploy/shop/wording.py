"""Sentences with placeholders, such as `order <order> accepted in <ms> ms`, filled from a seeded source."""

import re
from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Final

_PLACEHOLDER: Final = re.compile(r"<([a-z]+)>")
_WORDS: Final = ("blue kettle", "desk lamp", "rain jacket", "trail shoes", "oak shelf", "wool scarf", "tea set")
_COUNTRIES: Final = ("DE", "FR", "NL", "PL", "SE", "US", "CA", "JP", "BR")
_PATHS: Final = ("/", "/cart", "/checkout", "/api/v1/products", "/api/v1/orders", "/api/v1/search", "/account")
_AGENTS: Final = ("Firefox/133.0", "Chrome/131.0.0.0", "Safari/18.1", "ShopApp/9.4")


def _hex(length: int) -> Callable[[Random], str]:
    return lambda rng: f"{rng.getrandbits(4 * length):0{length}x}"


def _between(low: int, high: int) -> Callable[[Random], str]:
    return lambda rng: str(rng.randint(low, high))


def _duration_ms(rng: Random) -> str:
    return str(max(1, int(rng.lognormvariate(3.2, 0.8))))


_FILL: Final[dict[str, Callable[[Random], str]]] = {
    "agent": lambda rng: rng.choice(_AGENTS),
    "amount": lambda rng: f"{rng.randint(3, 400)}.{rng.randint(0, 99):02d}",
    "attempt": _between(1, 3),
    "big": _between(20_000, 4_000_000),
    "bytes": _between(180, 92_000),
    "country": lambda rng: rng.choice(_COUNTRIES),
    "hex": _hex(16),
    "id": _between(100_000, 999_999),
    "ip": lambda rng: f"198.51.100.{rng.randint(1, 254)}",
    "kb": _between(900_000, 2_100_000),
    "ms": _duration_ms,
    "n": _between(2, 60),
    "order": lambda rng: f"ord-{rng.getrandbits(40):010x}",
    "path": lambda rng: rng.choice(_PATHS),
    "percent": _between(1, 38),
    "port": _between(32_768, 60_999),
    "query": lambda rng: rng.choice(_WORDS),
    "sku": lambda rng: f"SKU-{rng.randint(10_000, 99_999)}",
    "slow": _between(5_000, 29_000),
    "user": lambda rng: f"u-{rng.randint(1_000, 99_999)}",
}


@lru_cache(maxsize=2048)
def _parts(sentence: str) -> tuple[str | Callable[[Random], str], ...]:
    pieces = _PLACEHOLDER.split(sentence)
    return tuple(_FILL[piece] if n % 2 else piece for n, piece in enumerate(pieces))


def fill(sentence: str, rng: Random) -> str:
    """Put something into every placeholder. Raises KeyError for one that is not known."""
    return "".join(part if isinstance(part, str) else part(rng) for part in _parts(sentence))
