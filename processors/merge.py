"""The join of a stored document with a delta: the one law by which redelivery, replay and Spark end in the same index.

    slices       per partition and block of offsets: the higher mark wins, at the same mark the larger count (one that
                 is too small was begun after a loss, none is ever too large); `count` is the sum over slices
    first/last   minimum and maximum of event time
    max          per field: the larger number
    exemplars    a set keyed by coordinates: the first, the last and the k smallest by hash of the coordinates
    identifiers  a set: the k smallest by hash
    items        a map: per key the later one wins (`lo`, `hi` widen); the k largest keys stay
    latest       a register: the later order wins and sets its fields

Each part is commutative, associative and idempotent, hence so is the whole. `merge.painless` is the same law inside
OpenSearch; a contract test holds the two together.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from typing import Any, Final

Json = dict[str, Any]
MERGE_SOURCE: Final = files("processors").joinpath("merge.painless").read_text(encoding="utf-8")


def join(stored: Mapping[str, Any], delta: Mapping[str, Any]) -> Json:
    """A new document; neither argument is changed."""
    document = dict(stored)
    if "slices" in delta:
        slices = dict(document.get("slices") or {})
        for key, (mark, count) in delta["slices"].items():
            if key not in slices or (mark, count) > tuple(slices[key]):
                slices[key] = [mark, count]
        document |= {"slices": slices, "count": sum(count for _, count in slices.values())}
    for field, better in (("first_ms", min), ("last_ms", max), ("clamped", max)):
        if field in delta:
            document[field] = _best(better, document.get(field), delta[field])
    for field, number in delta.get("max", {}).items():
        document[field] = _best(max, document.get(field), number)
    if "exemplars" in delta:
        document["exemplars"] = exemplars(document.get("exemplars") or [], delta["exemplars"], delta["exemplar_limit"])
    if "identifiers" in delta:
        found = {*(document.get("identifiers") or ()), *delta["identifiers"]}
        document["identifiers"] = smallest(found, delta["identifier_limit"])
    if "items" in delta:
        field = delta["items"]["field"]
        document[field] = _items(document.get(field) or {}, delta["items"]["values"], delta["items"]["limit"])
    if "latest" in delta:
        order = (document.get("latest") or {}).get("order")
        if order is None or delta["latest"]["order"] > order:
            document |= {"latest": {"order": delta["latest"]["order"]}, **delta["latest"]["values"]}
    return document


def join_deltas(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Json:
    """The state parts (max, items, latest) of two deltas as one, so that joining it equals joining both in turn."""
    joined = {**mine, **theirs}
    if "max" in mine and "max" in theirs:
        joined["max"] = {
            field: max(part["max"][field] for part in (mine, theirs) if field in part["max"])
            for field in mine["max"] | theirs["max"]
        }
    if "items" in mine and "items" in theirs:
        items = theirs["items"]
        joined["items"] = {**items, "values": _items(mine["items"]["values"], items["values"], items["limit"])}
    if "latest" in mine and "latest" in theirs:
        joined["latest"] = max(mine["latest"], theirs["latest"], key=lambda latest: latest["order"])
    return joined


def _best(better: Any, stored: Any, new: Any) -> Any:
    return new if stored is None else better(stored, new)


def exemplars(stored: Iterable[Json], new: Iterable[Json], limit: int) -> list[Json]:
    """The first, the last and the `limit` smallest by hash, in order of time."""
    by_time = sorted({e["at"]: e for e in (*stored, *new)}.values(), key=lambda e: (e["t"], e["at"]))
    by_hash = sorted(by_time, key=lambda e: (e["h"], e["at"]))
    kept = {by_time[0]["at"], by_time[-1]["at"], *(e["at"] for e in by_hash[:limit])}
    return [e for e in by_time if e["at"] in kept]


def _items(stored: Json, new: Json, limit: int) -> Json:
    joined = dict(stored)
    for key, item in new.items():
        joined[key] = join_item(joined[key], item) if key in joined else item
    return {key: joined[key] for key in sorted(joined)[-limit:]}


def join_item(mine: Json, theirs: Json) -> Json:
    """The later of two by their order; a range widens to hold both."""
    won = theirs if theirs["o"] > mine["o"] else mine
    if "lo" not in mine:
        return won
    return {**won, "lo": min(mine["lo"], theirs["lo"]), "hi": max(mine["hi"], theirs["hi"])}


def smallest(identifiers: Iterable[str], limit: int) -> list[str]:
    """The `limit` smallest by hash: a sample that does not depend on the order of arrival."""
    return sorted(identifiers, key=lambda i: (java_hash(i), i))[:limit]


def java_hash_pure(text: str) -> int:
    """java.lang.String.hashCode for ASCII text: s[0]*31^(n-1) + ... + s[n-1], as a signed 32-bit number."""
    value = 0
    for character in text.encode("ascii"):
        value = 31 * value + character  # identifiers are short: cut to 32 bits once, at the end
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


java_hash: Callable[[str], int]
try:
    from freshet_kernel import java_hash
except ImportError:
    java_hash = java_hash_pure
