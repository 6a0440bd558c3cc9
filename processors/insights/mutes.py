"""What people said of incidents: a rejection mutes the fingerprint for a while; what still goes on of it is hushed."""

from collections.abc import Iterable
from typing import Any, Final

from schemas.insight_settings import Correlation
from schemas.insights import Symptom
from schemas.summaries import Feedback

Json = dict[str, Any]
MOST: Final = 4_096  # fingerprints, symptoms and words of people that are remembered; beyond, the oldest go


class Mutes:
    def __init__(self, settings: Correlation) -> None:
        self._mute_ms = int(1000 * settings.mute_s)
        self._until: dict[str, int] = {}  # fingerprint -> event time
        self._hushed: dict[str, int] = {}  # id of a symptom -> event time
        self._heard: dict[str, str] = {}  # id of a feedback -> verdict

    def hear(self, feedback: Feedback) -> bool:
        """False for one that was heard before."""
        if feedback.id in self._heard:
            return False
        self._heard[feedback.id] = feedback.verdict
        bound(self._heard, MOST)
        return True

    def mute(self, fingerprint: str, feedback: Feedback) -> None:
        until_ms = feedback.until_ms or feedback.time_ms + self._mute_ms
        self._until[fingerprint] = max(until_ms, self._until.pop(fingerprint, 0))
        bound(self._until, MOST)

    def hush(self, fingerprint: str, symptoms: Iterable[Symptom]) -> None:
        """The symptoms of a rejected incident that go on open no other one, under whatever fingerprint."""
        for symptom in symptoms:
            self._hushed[symptom.id] = self._until.get(fingerprint, 0)
        bound(self._hushed, MOST)

    def muted(self, fingerprint: str, now_ms: int) -> bool:
        return self._until.get(fingerprint, 0) > now_ms

    def hushed(self, symptom: Symptom, now_ms: int) -> bool:
        return self._hushed.get(symptom.id, 0) > now_ms

    def expire(self, now_ms: int) -> None:
        for held in (self._until, self._hushed):
            for key in [key for key, until_ms in held.items() if until_ms <= now_ms]:
                del held[key]

    def dump(self) -> Json:
        return {"until": self._until, "hushed": self._hushed, "heard": self._heard}

    @classmethod
    def load(cls, dumped: Json, settings: Correlation) -> "Mutes":
        mutes = cls(settings)
        mutes._until, mutes._hushed, mutes._heard = dumped["until"], dumped["hushed"], dumped["heard"]
        return mutes


def bound(held: dict[str, Any], most: int) -> None:
    while len(held) > most:
        del held[next(iter(held))]
