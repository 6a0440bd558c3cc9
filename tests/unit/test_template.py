import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.canonical import canonical
from processors.template import (
    MAX_TEMPLATE_CHARS,
    MAX_TEXT_CHARS,
    MAX_TOKENS,
    TEMPLATE_VERSION,
    template,
    template_pure,
)

GOLDEN = Path(__file__).parents[1] / "golden"

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
        " ms",
        " KB",
        "<1",
    ),
)
log_text = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), max_size=40).map("".join)


def golden(version: int) -> dict[str, str]:
    return json.loads((GOLDEN / f"templates-{version}.json").read_text("utf-8"))


@pytest.mark.parametrize(("text", "expected"), golden(TEMPLATE_VERSION).items())
def test_golden(text: str, expected: str) -> None:
    """Templates are identities: when one changes, so does TEMPLATE_VERSION."""
    assert template(text) == expected


def test_a_version_changes_what_a_template_is() -> None:
    before, now = golden(TEMPLATE_VERSION - 1), golden(TEMPLATE_VERSION)
    assert before.keys() <= now.keys()
    assert any(now[text] != shown for text, shown in before.items())


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
        ("free 512 B, used 3 MB", "free 1.5 GB, used 7 KB"),
        ("took <1 sec", "took 2 min"),
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
        ("found 3 s", "found 3 servers"),
    ],
)
def test_lines_that_say_something_else(first: str, second: str) -> None:
    assert template(first) != template(second)


@given(log_text)
@example("Client environment:12ab.foo=x y")
@example("x" * (MAX_TEXT_CHARS - 5) + " abcd12")
def test_lines_of_one_canonical_form_have_one_template(text: str) -> None:
    assert template(text) == template(canonical(text))


@given(log_text)
@settings(max_examples=400)
def test_the_kernel_changes_nothing(text: str) -> None:
    assert template(text) == template_pure(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "\x00", "\x00 7\x00", "\ud800 a7", "\x1c7\x1d8\x1fa", "a\xa07", "a\x857", "'0'", "0'", "0=", "<0>"),
        *("_0", "0_", "0.", 'a"0b', "x<redacted:jwt>0", "0" * 97, "a" * 97, "=" * 97 + "0", "a" * 11, "a" * 12),
        *("f" * 11, "f" * 12, "f" * 11 + "0", "a=b " * 400, "word " * 10_000, "7 " * 10_000, "x" * 1_000_000),
        "ab12" * 250_000,
        " ".join(f"k{'xyz'[n % 3] * n}=v" for n in range(90)),
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_the_kernel_takes_anything(text: str) -> None:
    assert template(text) == template_pure(text)


def test_the_kernel_agrees_on_real_lines(shared_data: Path) -> None:
    files = list(shared_data.glob("logs/loghub/*/*_2k.log"))
    lines = {canonical(line) for file in files for line in file.read_text("utf-8", "replace").splitlines()}
    assert len(lines) > 1_000
    assert [line for line in lines if template(line) != template_pure(line)] == []


def test_more_tokens_than_are_remembered() -> None:
    """Made of letters alone, so that each is a token and a line of its own; two threads at once."""
    letters = str.maketrans("0123456789", "ghijklmnop")
    lines = [f"{n:012}/a".translate(letters) for n in range(70_000)]
    with ThreadPoolExecutor(2) as pool:
        forwards, backwards = pool.map(lambda order: list(map(template, order)), (lines, lines[::-1]))
    assert forwards == backwards[::-1]
    assert forwards[::500] == list(map(template_pure, lines[::500]))


def test_without_the_kernel() -> None:
    """Where it is not compiled the same functions run in Python: a pipeline works, and by the same law."""
    program = (
        "import sys; sys.modules['freshet_kernel'] = None\n"
        "from processors import canonical, template\n"
        "assert canonical.canonical is canonical.canonical_pure\n"
        "print(template.template('took 7 of ab12cd\u00e9'), template.template is template.template_pure)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=GOLDEN.parents[1])
    assert (ran.stderr, ran.stdout) == ("", "took * of * True\n")
