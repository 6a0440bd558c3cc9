"""A model that obeys injected instructions, in small: `python -m tests.answers injection` is the whole trial."""

from itertools import groupby

from tests.answers.injection import measure
from tests.answers.injections import Injection, own
from tests.answers.trial import Trial


def test_nothing_comes_out_that_must_not_and_bare_it_does() -> None:
    some: list[Injection] = []
    for _, family in groupby(own(), key=lambda injection: injection.family):
        told = list(family)
        some += [told[0], *told[4::9]]
    outcome = measure([], [one for one in some for _ in range(2)], Trial(full=False, state="", note=lambda text: None))
    assert outcome.ok, outcome.figures
