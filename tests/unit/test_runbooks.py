"""The compiler: what a Markdown file becomes, and what hostile ones cannot do."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cag.runbooks import MAX_SECTION_CHARS, compile_runbook, normalise_path
from schemas.errors import InvalidRecord
from schemas.runbooks import Corpus, Runbook, section_id

CORPUS = Path(__file__).parents[3] / "shared/data/runbooks/corpus"

TEXT = """---
title: Database trouble
alerts: [DbDown, PoolExhausted]
services: checkout
namespaces: [payments]
pinned: true
---
Before any heading.

# Database

Mentions KubePodCrashLooping and `up{x="1"}` and OpenShift.

## Diagnosis

```shell
# not a heading
kubectl get pods
```

### Slow *queries*

See [the graph](https://example.test/g).

## Diagnosis

again

Setext
------
    # indented code is no heading
"""


def test_sections_follow_headings_and_carry_their_alerts() -> None:
    runbook = compile_runbook("db/main.md", TEXT)
    assert (runbook.title, runbook.services, runbook.namespaces, runbook.pinned) == (
        "Database trouble",
        ("checkout",),
        ("payments",),
        True,
    )
    assert [(s.anchor, s.heading) for s in runbook.sections] == [
        ("top", "Database trouble"),
        ("database", "Database trouble"),
        ("diagnosis", "Diagnosis"),
        ("slow-queries", "Diagnosis > Slow queries"),
        ("diagnosis-1", "Diagnosis"),
        ("setext", "Setext"),
    ]
    diagnosis = runbook.sections[2]
    assert "# not a heading" in diagnosis.text
    assert diagnosis.plain == "Database trouble\nDiagnosis\nnot a heading\nkubectl get pods"
    assert runbook.sections[3].plain.endswith("See the graph.")
    assert runbook.alerts == ("DbDown", "PoolExhausted")
    assert runbook.sections[1].alerts == ("DbDown", "PoolExhausted", "KubePodCrashLooping")
    assert Runbook.from_json(runbook.to_json()) == runbook


@pytest.mark.parametrize(
    ("path", "text", "alerts"),
    [
        ("k8s/KubePodCrashLooping.md", "x", ("KubePodCrashLooping",)),
        ("etcdNoLeader.md", "x", ("etcdNoLeader",)),
        ("general/Watchdog.md", "# Watchdog\nx", ("Watchdog",)),
        ("general/Overview.md", "# About\nx", ()),
        ("README.md", "# README\nx", ()),
        ("how-to-restart.md", "x", ()),
    ],
)
def test_a_file_named_after_an_alert_is_about_it(path: str, text: str, alerts: tuple[str, ...]) -> None:
    assert compile_runbook(path, text).alerts == alerts


@pytest.mark.parametrize(
    "front",
    ["title: [", "- a\n- b", "title: " + "[" * 2_000, "x: &a [1]\nalerts: {a: *a}", "alerts: 7: 8", "title: {a: b}"],
)
def test_broken_front_matter_is_ignored_with_a_warning(front: str) -> None:
    runbook = compile_runbook("a.md", f"---\n{front}\n---\n# T\nx")
    assert runbook.warnings
    assert runbook.sections[0].text == "x"


@pytest.mark.parametrize("front", ["namespaces: {a: b}", "namespaces:", "namespaces: [pay\n", "namespaces: [[a]]"])
def test_a_restriction_that_cannot_be_read_is_never_guessed(front: str) -> None:
    with pytest.raises(InvalidRecord, match="namespaces"):
        compile_runbook("a.md", f"---\n{front}\n---\n# T\nx")


@pytest.mark.parametrize("text", ["", " \n\t\n", "---\ntitle: x\n---\n", "\u200b\x00", "x" * 1_048_577, "\n" * 20_001])
def test_empty_and_oversized_documents_are_refused(text: str) -> None:
    with pytest.raises(InvalidRecord):
        compile_runbook("a.md", text)


@pytest.mark.parametrize(
    "path", [None, b"", "/a.md", "a/../b.md", "./a.md", "a//b.md", "a\\b", "a\x00", "a\nb", b"\xff", "x" * 513, "a/ /b"]
)
def test_only_plain_relative_paths_are_keys(path: str | bytes | None) -> None:
    with pytest.raises(InvalidRecord):
        normalise_path(path)


def test_a_long_section_is_cut_between_blocks_and_nothing_is_lost() -> None:
    paragraphs = [f"{n} " + "word " * 300 for n in range(30)]
    sections = compile_runbook("a.md", "# T\n## Steps\n" + "\n\n".join(paragraphs)).sections
    assert [s.anchor for s in sections[:2]] == ["steps", "steps-part-2"]
    assert all(len(s.text) <= MAX_SECTION_CHARS for s in sections)
    assert "".join("".join(s.text for s in sections).split()) == "".join("".join(paragraphs).split())


def test_characters_that_hide_text_are_removed() -> None:
    text = compile_runbook("a.md", "a\x1b[31m\u202eb\U000e0041\ufeff\x00c\r\nd").sections[0].text
    assert text == "a[31mbc\nd"


PIECES = [
    "# ",
    "## a\n",
    "```\n",
    "\n",
    "text ",
    "---\n",
    "> ",
    "- ",
    "[x](y)",
    "<!-- ",
    "|",
    "_",
    "\x00",
    "Kube",
    "PodDown ",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=40).map("".join))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        runbook = compile_runbook("a.md", text)
    except InvalidRecord:
        return
    anchors = [s.anchor for s in runbook.sections]
    assert len(set(anchors)) == len(anchors) > 0
    assert all(anchors)
    assert all(s.text.strip() for s in runbook.sections)
    assert Runbook.from_json(runbook.to_json()) == runbook


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"path": 1}', b'{"sections": [1]}', b"\xff"])
def test_what_is_not_a_compiled_runbook_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRecord):
        Runbook.from_json(raw)


def test_the_real_runbooks_compile_and_are_found_by_alert_and_url() -> None:
    if not CORPUS.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CORPUS} is missing")
        pytest.skip(f"{CORPUS} is missing")
    files = sorted(CORPUS.rglob("*.md"))
    runbooks = [compile_runbook(f.relative_to(CORPUS).as_posix(), f.read_text()) for f in files]
    corpus = Corpus(version="1", runbooks=tuple(runbooks))
    by_alert = corpus.by_alert()
    assert len(runbooks) == 108
    assert not [r.path for r in runbooks if r.warnings]
    for file, runbook in zip(files, runbooks, strict=True):
        assert runbook.alerts == (file.stem,)
        assert by_alert[file.stem][0] == section_id(runbook.path, runbook.sections[0].anchor)
        found = corpus.at_url(f"https://runbooks.example/{file.parent.name}/{file.stem.lower()}/?x#y")
        assert found is runbook
    assert len({evidence_id for evidence_id, _, _ in corpus.sections()}) == sum(len(r.sections) for r in runbooks)
