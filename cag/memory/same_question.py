"""Whether two questions ask for the same, told from their words. Pure, and strict: a wrong yes is a wrong answer.

Vectors tell that two questions are alike; siblings are alike too ("pod not ready", "node not ready"). So every word
that is not mere wording must stand in both: names, numbers, negations, severities, what is done and to what. Only
words of `_WORDING` may differ, and words for one purpose (to repair, to examine, ...) may stand for each other.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cag.word_index import words

_QUOTES: Final = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})
_TOKEN: Final = re.compile(r"[^\s,;:!?()\[\]{}\"'`<>]+")
_NEGATION: Final = re.compile(r"\b(?:not|no|never|none|without|cannot|nothing|neither|nor)\b|n't\b", re.IGNORECASE)
# Words for one purpose, each list one purpose.
_PURPOSES: Final = {
    stem: purpose
    for purpose, listed in {
        "repair": "fix fixes fixing fixed resolve resolving resolution solve solving solution repair repairing remedy "
        "remediate remediation mitigate mitigating mitigation handle handling address addressing respond response "
        "react recover recovery deal dealing",
        "examine": "diagnose diagnosing diagnosis investigate investigating investigation debug debugging "
        "troubleshoot troubleshooting examine analyse analyze inspect",
        "explain": "mean means meaning explain explanation describe description define definition",
        "reason": "why cause causes caused causing reason reasons because",
        "effect": "impact impacts affect affects effect effects consequence consequences severity serious bad",
        "prevent": "prevent preventing prevention avoid avoiding",
    }.items()
    for word in listed.split()
    for stem in words(word) or (word,)
}
# Stems that say nothing about what is asked: politeness, question words, and the thing that every question is about.
_SAID: Final = """
a about again alert alerts am an and any are as ask at be been being best can could currently do does doing done firing
fires fired fire for get gets getting give given go goes going got guide guidance has have having hello help helps hey
hi how i if immediately in is issue issues it its just kindly know let like look looking made make makes me my need
needed needs next now of ok okay on one our ourselves please problem problems procedure procedures question recommended
right runbook runbooks say says see seeing should show shown shows situation so some someone step steps such tell tells
thank thanks that the their them there these they thing things this those to triggered trigger triggers us use using
want was way ways we were what whats when will with would you your instruction instructions playbook
documentation docs advice suggest suggested suggestion proper properly correct correctly quickly exactly actually
really
"""
# They say nothing about what is asked: politeness, question words, and the things that every question is about.
_WORDING: Final = frozenset(stem for word in _SAID.split() for stem in (*words(word), word))


# What asks for the cure where no other purpose is named.
_CURE: Final = re.compile(
    r"\bhow (?:to|(?:do|can|should|could) (?:i|we|you|one))\b|\bwhat\b.{0,30}\bdo\b|\bto do\b|\bdone\b"
    r"|\b(?:procedure|runbook|playbook|steps|instructions|guide)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Meant:
    """What must agree."""

    purposes: frozenset[str]
    content: tuple[str, ...]  # each once, in order: what is copied from where, what comes before what
    negations: int


def normalised(question: str) -> str:
    """The same for questions that differ in spaces, case and closing punctuation only."""
    text = unicodedata.normalize("NFKC", question).translate(_QUOTES).casefold()
    return " ".join(text.split()).rstrip(" ?!.")


@lru_cache(maxsize=4_096)
def meant(question: str) -> Meant:
    text = unicodedata.normalize("NFKC", question).translate(_QUOTES)
    found = [stem for token in _TOKEN.findall(_NEGATION.sub(" ", text)) for stem in _stems(token)]
    purposes = frozenset(_PURPOSES[stem] for stem in found if stem in _PURPOSES)
    content = [stem for stem in found if stem not in _WORDING and stem not in _PURPOSES]
    return Meant(
        purposes=purposes or frozenset({"repair"} if _CURE.search(text) else ()),
        content=tuple(dict.fromkeys(content)),
        negations=len(_NEGATION.findall(text)),
    )


def same_meaning(one: str, other: str) -> bool:
    """Whether two questions agree in all that could change the answer, whatever their wording."""
    left, right = meant(one), meant(other)
    return bool(left.content and left.purposes) and left == right


def _stems(token: str) -> tuple[str, ...]:
    """Of one token: a compound is one thing, and its parts must not pass for words of a sentence."""
    found = words(token)
    if not found:
        plain = token.casefold().strip(".-_/")
        return (plain,) if plain and not plain.isspace() else ()
    return found
