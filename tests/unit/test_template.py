import json
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.template import MAX_TEMPLATE_CHARS, MAX_TEXT_CHARS, MAX_TOKENS, template

GOLDEN = Path(__file__).parents[1] / "golden" / "templates.json"

FRAGMENTS = (
    *(
        "user",
        "for",
        "from",
        "at",
        "Mon",
        "Jan",
        "Password for",
        "connection",
        "deadbeefcafe",
        "a/b-c",
        "x.y.com",
        "/etc/x",
    ),
    *(
        "=",
        "key=",
        "msg=",
        '"',
        "'",
        "`",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "<",
        ">",
        ",",
        ";",
        ":",
        ".",
        "*",
        "|",
        "\\",
        "/",
        "-",
        "@",
    ),
    *(
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "0",
        "7",
        "10.0.0.1",
        "é",
        "日",
        "٣",
        "\x00",
        "\ud800",
        "<redacted:jwt>",
        "<redacted:",
    ),
    *(
        '{"msg":"',
        "Caused by: ",
        "a.b.FooException: ",
        "KeyError",
        "Traceback",
        "w" * 100,
        "()",
        "--flag=",
        "://",
        "C:\\x",
    ),
)
log_text = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), max_size=40).map("".join)


@pytest.mark.parametrize(("text", "expected"), json.loads(GOLDEN.read_text("utf-8")).items())
def test_golden(text: str, expected: str) -> None:
    """Templates are identities: when one changes, so does TEMPLATE_VERSION."""
    assert template(text) == expected


@given(log_text)
@settings(max_examples=400)
def test_a_template_is_its_own_template(text: str) -> None:
    once = template(text)
    assert template(once) == once
    assert len(once) <= MAX_TEMPLATE_CHARS
    assert "\n" not in once


@given(log_text, st.randoms(use_true_random=False))
@example("a1b2c3", random.Random(0))
def test_which_digits_makes_no_difference(text: str, source: random.Random) -> None:
    other = "".join(source.choice("0123456789") if char in "0123456789" else char for char in text)
    assert template(other) == template(text)


@given(log_text)
def test_placeholders_stay(text: str) -> None:
    assert "<redacted:jwt>" in template(f"start <redacted:jwt> {text}")


@pytest.mark.parametrize("filler", ["a ", "7 ", "x", '"', "k=v,", "*] [", "user ", "a.", "/a", "-", "{", "\n", "Jan "])
def test_only_the_beginning_matters(filler: str) -> None:
    text = ("word" + filler * MAX_TEXT_CHARS)[:MAX_TEXT_CHARS]
    assert template(text + "and the rest 1,000,000 " * 10) == template(text)
    assert len(template(text)) <= MAX_TEMPLATE_CHARS


def test_no_more_tokens_than_allowed() -> None:
    text = " ".join("ab"[i % 2] for i in range(MAX_TOKENS + 50))
    assert len(template(text).split()) == MAX_TOKENS


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("timeout after 5s calling stock", "timeout after 31s calling stock"),
        ('pod "checkout" evicted', 'pod "payments" evicted'),
        ("session opened for user bob", "session opened for user alice"),
        ("lookup stock.shop.svc failed", "lookup cart.shop.svc failed"),
        ("syncing shop/web-front", "syncing infra/node-agent"),
        (
            "boom\njava.io.IOException: disk 1\n\tat a.B(C.java:7)",
            "boom\njava.io.IOException: disk 2\n\tat x.Y(Z.java:9)",
        ),
        ("started at Fri Jun 7 10:00:00", "started at Sat Jul 8 11:00:00"),
        ("zones [a1]", "zones [a1, b2, c3]"),
    ],
)
def test_lines_that_say_the_same(first: str, second: str) -> None:
    assert template(first) == template(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("connection refused", "connection reset"),
        ('level=info msg="started"', 'level=info msg="stopped"'),
        ('{"level":"info","msg":"order placed"}', '{"level":"info","msg":"order lost"}'),
        ("boom\njava.io.IOException: disk", "boom\njava.lang.OutOfMemoryError: heap"),
        ('"Started" reason="BackOff"', '"Started" reason="Pulled"'),
        ("read/write error", "client/server error"),
    ],
)
def test_lines_that_say_something_else(first: str, second: str) -> None:
    assert template(first) != template(second)
