"""Labels side by side in one installation: which is live, how to switch, how to throw one away.

Which label is live is said in one place: by the alias of the `meta` index. Everything else follows it, and may be put
right by running the same command again.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from processors.generation import group_of
from processors.index import OpenSearchIndex
from processors.sink import open_index
from schemas.documents import DAILY_KINDS, STATIC_KINDS, Names
from schemas.errors import SinkMisconfigured, StartupError
from schemas.settings import Settings

KINDS: Final = (*DAILY_KINDS, *STATIC_KINDS)
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]{0,19}")
SETTLE_ROUNDS: Final = 5


@dataclass(slots=True, kw_only=True)
class Label:
    """One label as the index has it."""

    name: str
    group: str
    parts: Mapping[str, str] = field(default_factory=dict)  # empty: being discarded
    indices: dict[str, str] = field(default_factory=dict)  # index -> kind
    shown: set[str] = field(default_factory=set)  # indices behind an alias
    templates: dict[str, str] = field(default_factory=dict)  # template -> kind
    live: bool = False
    documents: int = 0
    patterns: int = 0
    size_bytes: int = 0

    @property
    def claimed(self) -> bool:
        """False: it is being discarded, or only its templates were made."""
        return "meta" in self.indices.values()

    @property
    def shadow(self) -> str:
        """The name it was given; '' for the first of its generation."""
        return self.name.partition("_")[2]


class Shadows:
    """Calls block; they raise SinkUnavailable and SinkMisconfigured."""

    def __init__(self, settings: Settings, index: OpenSearchIndex | None = None) -> None:
        self._prefix, self._group = settings.opensearch.prefix, settings.kafka.group
        self._index = index or open_index(settings, "any")
        self._name = re.compile(rf"{re.escape(self._prefix)}-({'|'.join(KINDS)})-([^-]+)(?:-\d{{4}}\.\d\d\.\d\d)?")

    def labels(self) -> dict[str, Label]:
        """Every label that has an index or a template, by name."""
        found: dict[str, Label] = {}

        def of(name: str) -> Label:
            return found.setdefault(name, Label(name=name, group=group_of(self._group, name)))

        for row in self._rows():
            if match := self._name.fullmatch(row["index"]):
                label = of(match[2])
                label.indices[row["index"]] = match[1]
                if match[1] in DAILY_KINDS:
                    label.documents += int(row["docs.count"] or 0)
                if match[1] == "patterns":
                    label.patterns += int(row["docs.count"] or 0)
                label.size_bytes += int(row["store.size"] or 0)
        for index, kinds in self._aliases().items():
            if match := self._name.fullmatch(index):
                label = of(match[2])
                label.indices[index] = match[1]
                if kinds:
                    label.shown.add(index)
                    label.live = label.live or match[1] == "meta"
        for template in self._templates():
            if match := self._name.fullmatch(template):
                of(match[2]).templates[template] = match[1]
        for document in self._claims():
            of(document["generation"]).parts = document["parts"]
        return found

    def named(self, name: str) -> Label:
        """By shadow name or by label. Raises StartupError that says which there are."""
        labels = self.labels()
        if name in labels:
            return labels[name]
        match = [label for label in labels.values() if label.shadow == name]
        if len(match) == 1:
            return match[0]
        there = ", ".join(sorted(labels)) or "none"
        raise StartupError(f"there is no generation {name!r} in {self._prefix!r} (there are: {there})")

    def without_vectors(self, label: str) -> int:
        """Patterns that were not embedded yet."""
        name = Names(self._prefix, label).pattern("patterns")
        query = {"query": {"bool": {"must_not": {"exists": {"field": "vector"}}}}}
        self._index.request("POST", f"/{name}/_refresh?allow_no_indices=true")
        return int(self._index.request("POST", f"/{name}/_count?allow_no_indices=true", query)["count"])

    def switch(self, name: str) -> None:
        """Make this label the live one. Run again after a crash, it completes.

        One `_aliases` call takes all kinds at once, meta and watermarks included: readers see either the one label or
        the other. Templates come after it: before, a day that begins would show a piece of a label that is not live.
        After a crash in between, the label is live, and only an index that is made from then on is not seen; a worker
        that starts, or the same command, mends that. A second look catches what was made between look and switch.
        """
        for _ in range(SETTLE_ROUNDS):
            labels = self.labels()
            actions = switch_actions(labels, name, self._prefix)
            if actions:
                self._index.request("POST", "/_aliases", {"actions": actions})
            changed = self._settle_templates(labels, name)
            if not actions and not changed:
                return
        raise StartupError(f"{name} is live, but indices of other labels are made all the time: stop their workers")

    def remove(self, label: Label, *, settle_s: float = 1.5) -> None:
        """Indices and templates of a label that is not live. Its claim goes first: whoever feeds it notices and leaves.

        Run again after a crash, it completes: a label is known by its templates too.
        """
        if label.live:
            raise StartupError(f"{label.name} is live: promote another one first")
        names = Names(self._prefix, label.name)
        claim = f"{self._prefix}-meta-{label.name}"
        if claim in label.indices:
            self._index.request("DELETE", f"/{claim}")
            time.sleep(settle_s)
        for _ in range(SETTLE_ROUNDS):
            left = self.labels().get(label.name)
            if left is None:
                return
            if left.live:
                raise StartupError(f"{label.name} has become live: promote another one first")
            for index in left.indices:
                self._gone("DELETE", f"/{index}")
            for template in left.templates:
                self._gone("DELETE", f"/_index_template/{template}")
        raise StartupError(f"something still writes to {names.generation}: stop it, then discard again")

    def _settle_templates(self, labels: Mapping[str, Label], live: str) -> int:
        """New days get the alias for the live label only; returns how many templates were wrong."""
        wrong = 0
        for name, template in self._templates().items():
            match = self._name.fullmatch(name)
            if match is None or match[2] not in labels:
                continue
            aliases: dict[str, Any] = {f"{self._prefix}-{match[1]}": {}} if match[2] == live else {}
            inner = template.setdefault("template", {})
            if inner.get("aliases", {}) != aliases:
                inner["aliases"] = aliases
                self._index.request("PUT", f"/_index_template/{name}", template)
                wrong += 1
        return wrong

    def _rows(self) -> list[Mapping[str, Any]]:
        columns = "h=index,docs.count,store.size&bytes=b&format=json&expand_wildcards=all"
        rows: list[Mapping[str, Any]] = self._index.request("GET", f"/_cat/indices/{self._prefix}-*?{columns}")
        return rows

    def _aliases(self) -> dict[str, list[str]]:
        found = self._index.request("GET", f"/{self._prefix}-*/_alias?allow_no_indices=true")
        return {index: list(entry.get("aliases", {})) for index, entry in found.items()}

    def _templates(self) -> dict[str, dict[str, Any]]:
        try:
            found = self._index.request("GET", f"/_index_template/{self._prefix}-*")
        except SinkMisconfigured:  # so it says "none"
            return {}
        return {entry["name"]: entry["index_template"] for entry in found["index_templates"]}

    def _claims(self) -> Iterable[dict[str, Any]]:
        path = f"/{self._prefix}-meta-*/_search?allow_no_indices=true&ignore_unavailable=true"
        self._index.request("POST", f"/{self._prefix}-meta-*/_refresh?allow_no_indices=true")
        hits = self._index.request("POST", path, {"size": 1_000, "query": {"match_all": {}}})["hits"]["hits"]
        return (hit["_source"] for hit in hits if self._name.fullmatch(hit["_index"]))

    def _gone(self, method: str, path: str) -> None:
        try:
            self._index.request(method, path)
        except SinkMisconfigured as error:
            if "404" not in str(error):
                raise


def switch_actions(labels: Mapping[str, Label], live: str, prefix: str) -> list[dict[str, Any]]:
    """What `_aliases` is to do so that this label, and no other, is behind the aliases."""
    add = [
        {"add": {"index": index, "alias": f"{prefix}-{kind}"}}
        for index, kind in sorted(labels[live].indices.items())
        if index not in labels[live].shown
    ]
    remove = [
        {"remove": {"index": index, "alias": f"{prefix}-{label.indices[index]}"}}
        for label in labels.values()
        if label.name != live
        for index in sorted(label.shown)
    ]
    return [*add, *remove]


def behind(theirs: Mapping[Any, int], ours: Mapping[Any, int]) -> dict[Any, int]:
    """By partition, how many records we are behind them."""
    return {place: at - ours.get(place, 0) for place, at in sorted(theirs.items()) if ours.get(place, 0) < at}


def caught_up(
    theirs: Mapping[Any, int],
    ours: Callable[[], Mapping[Any, int]],
    *,
    patience_s: float,
    still_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> dict[Any, int]:
    """Wait for whoever follows to reach these positions; what is missing when it stands still or takes too long."""
    began = moved = clock()
    last = dict(ours())
    while left := behind(theirs, last):
        now = clock()
        if now - began > patience_s or now - moved > still_s:
            return left
        sleep(0.5)
        if (found := dict(ours())) != last:
            last, moved = found, now
    return {}
