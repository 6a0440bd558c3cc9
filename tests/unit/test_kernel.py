"""The compiled kernel against the Python that it stands in for."""

import random

import freshet_kernel
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.canonical import canonical, canonical_pure

WORDS = ("ab12", "deadbeef", "0a", "a0", "1234", "12ab34", "ab_12", "g1a2b3", "F1AB", "é1ab2", "abc٣", "\ud800", "\x00")
BETWEEN = (" ", "", "-", "_", ":", "/", "\n", "\x1c", "\xa0", "=")
texts = st.lists(st.sampled_from(WORDS + BETWEEN) | st.text(max_size=6), max_size=30).map("".join)
ascii_texts = st.lists(st.sampled_from("019afgAF_-. \x00") | st.characters(max_codepoint=127), max_size=60).map("".join)


@given(texts | ascii_texts)
@example("a1" * 5_000)
@example("")
@settings(max_examples=400)
def test_canonical_is_the_pure_one(text: str) -> None:
    assert canonical(text) == canonical_pure(text)


@given(ascii_texts)
def test_canonical_is_its_own_canonical(text: str) -> None:
    once = canonical(text)
    assert len(once) == len(text)
    assert canonical(once) is once


@given(texts, st.randoms(use_true_random=False))
def test_which_digits_makes_no_difference(text: str, source: random.Random) -> None:
    other = "".join(source.choice("0123456789") if char in "0123456789" else char for char in text)
    assert canonical(other) == canonical(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("took 31 ms", "took 00 ms"),
        ("id 9f3c at", "id a0a0 at"),
        ("id 9f3cd", "id a0a0a"),
        ("id 9f3", "id 0f0"),  # too short
        ("dead beef", "dead beef"),  # no digit
        ("x9f3c 9f3c_ _9f3c 9f3cg", "x0f0c 0f0c_ _0f0c 0f0cg"),
        ("9f3c-1a2b", "a0a0-a0a0"),
        ("9F3C", "0F0C"),
        ("7", "0"),
        ("é 9f3c", "é a0a0"),
        ("9" + "f" * 2_000, ("a0" * 1_001)[:2_001]),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == canonical_pure(text) == expected


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(AttributeError):
        freshet_kernel.canonical(canonical_pure)(b"7")


def test_the_same_object_when_nothing_changes() -> None:
    text = "".join(["connection ", "refused 0"])
    assert canonical(text) is text


def test_what_python_raises_comes_through() -> None:
    made = freshet_kernel.template(len, lambda line: str(1 / len(line)), str)
    with pytest.raises(TypeError, match="'k=v'"):
        made("k=v")
    with pytest.raises(ZeroDivisionError):
        made("")
    assert made("a 7") == str(1 / 3)


def test_python_is_asked_once() -> None:
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return text

    made = freshet_kernel.template(ask, ask, ask)
    assert made("k=v k=9f3c x9") == made(" k=v\tk=1a2b x0") == "k=v k=a0a0 *"
    assert asked == ["k=v", "k=a0a0", "k=v k=a0a0 *"]


@pytest.mark.parametrize("text", ["é 7", "a\nb", ' {"a": 1}', "x" * 4_097, "k=v"])
def test_what_is_left_to_python(text: str) -> None:
    """Also when a mask is longer than its token or no ASCII."""
    for mask in ("longer", "é"):
        assert freshet_kernel.template(lambda token, mask=mask: mask, str, lambda text: "other")(text) == "other"
