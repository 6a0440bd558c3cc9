"""The laws of the runbook checker: what it lets pass, and what it does not."""

import pytest

from tests.faults.runbook_ledger import Ledger, Observer, State

PATH = "a.md"


def watched(script: str) -> Observer:
    """`+` sends an edit, `-` a deletion, `t` makes the topic again; a digit is what a reading shows, 0 nothing."""
    ledger = Ledger()
    observer = Observer(ledger)
    for at_s, step in enumerate(script):
        if step in "+-":
            ledger.intend(PATH, deletes=step == "-", at_s=at_s).state = State.OK
        elif step == "t":
            ledger.new_topic()
        else:
            observer.observe({PATH: int(step)} if step != "0" else {}, at_s)
    return observer


@pytest.mark.parametrize(
    ("script", "laws"),
    [
        ("+1+2+-0+5", []),
        ("++2", []),
        ("+-+0+4", []),
        ("+1+1", []),  # not served yet
        ("+1t0+2", []),
        ("+1t+1+3", []),  # the old topic is served until the new one is built
        ("+1+21", ["went back"]),
        ("+1-01", ["a deleted one returned"]),
        ("+1-+301", ["vanished", "a deleted one returned"]),
        ("+10", ["vanished"]),
        ("+1-2", ["never sent"]),
        ("+7", ["never sent"]),
        ("+1t+21", ["went back"]),
    ],
)
def test_laws(script: str, laws: list[str]) -> None:
    assert [breach.law for breach in watched(script).breaches] == laws


def test_what_may_be_served_in_the_end() -> None:
    ledger = watched("++-+").ledger
    assert ledger.final() == {PATH: {4}}
    ledger.by_path[PATH][3].state = State.UNKNOWN
    assert ledger.final() == {PATH: {4, 0}}
    ledger.new_topic()
    assert ledger.final() == {PATH: {0}}


def test_a_change_is_served_when_it_or_a_later_one_is_seen() -> None:
    sends = watched("++2-0+-0").ledger.by_path[PATH]
    assert [(s.served_s, s.visible) for s in sends] == [(2, True), (2, True), (4, True), (-1, False), (-1, False)]
