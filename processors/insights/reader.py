"""What a subscriber does with the topic: fold copies and revisions, know what is open."""

from collections.abc import Iterator

from schemas.insights import Insight


class Present:
    """The highest revision of each incident. Copies, and revisions that come late, change nothing."""

    def __init__(self) -> None:
        self._newest: dict[str, Insight] = {}

    def see(self, insight: Insight) -> bool:
        """Whether it is news."""
        known = self._newest.get(insight.id)
        if known is not None and known.revision >= insight.revision:
            return False
        self._newest[insight.id] = insight
        return True

    def open(self) -> list[Insight]:
        return [each for each in self if each.state in ("opened", "updated")]

    def __iter__(self) -> Iterator[Insight]:
        """All of them, the earliest first."""
        return iter(sorted(self._newest.values(), key=lambda each: (each.detected, each.id)))

    def __getitem__(self, identity: str) -> Insight:
        return self._newest[identity]

    def __len__(self) -> int:
        return len(self._newest)
