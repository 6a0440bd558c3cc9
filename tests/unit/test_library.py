"""Which runbook sections come first, and who may see them."""

import time
from dataclasses import replace
from typing import Any

import pytest

from cag.library import Library
from cag.runbooks import compile_runbook
from schemas.context import Evidence, Plan, Scope, Span
from schemas.runbooks import Corpus, Runbook
from tests.unit.test_evidence import END, SPAN

CRASH = """# KubePodCrashLooping
## Meaning
A pod restarts again and again.
## Diagnosis
Look at the logs of the pod.
## Mitigation
Roll the deployment back.
"""
DISK = """# Disk pressure
## Symptoms
The kubelet evicts pods, NodeDiskPressure fires and images are collected.
## Fix
Remove old images and rotate logs.
"""
LATENCY = "# Slow checkout\n## Diagnosis\nCompare the latency of checkout with the database connection pool.\n"
SECRET = """---
alerts: [KubePodCrashLooping]
namespaces: [pay]
---
# Payments only
## Diagnosis
The pool password is in the vault.
"""
EVERYWHERE = Scope()


def library(**texts: str) -> Library:
    books = (
        compile_runbook(f"{n}.md", text, source_url=f"https://r.example/{n}.md") for n, text in sorted(texts.items())
    )
    return Library.of(Corpus(version="1", runbooks=tuple(books)))


ALL = library(KubePodCrashLooping=CRASH, disk=DISK, latency=LATENCY)


def asked(text: str, *alerts: str) -> Plan:
    return Plan(question=text, search_text=text, span=Span(start=SPAN.start, end=END), alerts=alerts)


def fired(name: str, url: str = "", text: str = "") -> Evidence:
    return Evidence(id="alert-1", kind="alert", title=name, url=url, text=text or f"Alert {name} is firing")


def titles(found: list[Evidence]) -> list[str]:
    return [piece.title for piece in found]


def find(
    shelf: Library, plan: Plan, *telling: Evidence, scope: Scope = EVERYWHERE, limit: int = 3, vector: Any = None
) -> list[Evidence]:
    return shelf.find(plan, telling, scope, vector, limit)


@pytest.mark.parametrize(
    ("plan", "telling", "first"),
    [
        (asked("what to do", "KubePodCrashLooping"), (), "KubePodCrashLooping: Diagnosis"),  # by name in the question
        (asked("why is it slow"), (fired("KubePodCrashLooping"),), "KubePodCrashLooping: Diagnosis"),  # that fires
        (
            asked("disk is full"),
            (fired("X", "https://r.example/latency.md"),),
            "Slow checkout: Diagnosis",
        ),  # by address
        (asked("disk"), (fired("X", "https://elsewhere.example/runbooks/latency/"),), "Slow checkout: Diagnosis"),
        (asked("help", "NodeDiskPressure"), (), "Disk pressure: Symptoms"),  # a section that mentions it
        (asked("checkout latency and database pools"), (), "Slow checkout: Diagnosis"),  # by words
        (asked("evicted"), (), "Disk pressure: Symptoms"),
    ],
)
def test_what_comes_first(plan: Plan, telling: tuple[Evidence, ...], first: str) -> None:
    assert titles(find(ALL, plan, *telling))[0] == first


def test_sections_that_say_what_to_do_come_before_those_that_explain() -> None:
    assert titles(find(ALL, asked("x", "KubePodCrashLooping")))[:2] == [
        "KubePodCrashLooping: Diagnosis", "KubePodCrashLooping: Mitigation",
    ]  # fmt: skip


def test_of_several_alerts_the_one_most_like_the_evidence_comes_first() -> None:
    both = (fired("KubePodCrashLooping", text="it fires"), fired("X", "https://r.example/latency.md", text="it fires"))
    log = Evidence(id="log-1", kind="log", text="checkout latency: database connection pool exhausted")
    assert titles(find(ALL, asked("why is checkout slow"), *both, log))[0] == "Slow checkout: Diagnosis"


def test_nothing_in_common_finds_nothing() -> None:
    assert find(ALL, asked("zebra")) == []
    assert find(library(), asked("disk", "KubePodCrashLooping"), fired("X", "https://r.example/x")) == []


PAY, SHOP = Scope(namespaces=("pay", "shop")), Scope(namespaces=("shop",))


def test_a_restricted_runbook_is_for_its_namespaces_only_and_takes_nobodys_place() -> None:
    shelf = library(**{f"a{n}": SECRET for n in range(30)}, z=CRASH)  # thirty, all about the same alert
    secret = next(e.id for e in shelf.entries if e.runbook.namespaces)
    plan = asked("pool password vault pod logs", "KubePodCrashLooping")
    assert {t.split(":")[0] for t in titles(find(shelf, plan, scope=SHOP, limit=99))} == {"KubePodCrashLooping"}
    assert titles(find(shelf, plan, scope=PAY))[0].startswith("Payments only")
    assert titles(find(shelf, asked("x"), fired("KubePodCrashLooping", "https://r.example/a1.md"), scope=SHOP))[
        0
    ].startswith("Kube")
    assert (shelf.get(secret, SHOP), shelf.get("runbook-000000000000-x", PAY)) == (None, None)
    assert getattr(shelf.get(secret, PAY), "id", "") == secret
    assert shelf.headings() == ["KubePodCrashLooping (z.md)"]


def test_headings_are_in_the_order_of_paths() -> None:
    titled = ["KubePodCrashLooping (KubePodCrashLooping.md)", "Disk pressure (disk.md)", "Slow checkout (latency.md)"]
    assert ALL.headings() == titled


def test_meaning_is_fused_with_words_when_there_are_vectors() -> None:
    shelf = library(disk=DISK, latency=LATENCY)
    new = shelf.without_vector(99)
    shelf.learn(new, [[1.0, 0.0] if e.runbook.path == "latency.md" else [0.0, 1.0] for of in new for e in of])
    assert titles(find(shelf, asked("zebra"), vector=[1.0, 0.0]))[0] == "Slow checkout: Diagnosis"
    assert find(shelf, asked("checkout latency"), vector=[1.0, 0.0])[0].score > 0.9  # first in all
    assert find(shelf, asked("zebra"), vector=None) == []


def test_an_alert_that_the_question_names_comes_first_also_where_nothing_has_fired_yet() -> None:
    found = titles(find(ALL, asked("disk images and logs, what does KubePodCrashLooping mean")))
    assert found[:2] == ["KubePodCrashLooping: Diagnosis", "KubePodCrashLooping: Mitigation"]


def test_each_runbook_gives_its_best_section_before_one_gives_two() -> None:
    found = titles(find(ALL, asked("logs of the pod, images and rotation"), limit=9))
    assert [title.split(":")[0] for title in found[:2]] == ["KubePodCrashLooping", "Disk pressure"]
    assert len(found) == 5  # all sections of those two


def test_rare_words_weigh_more_and_long_sections_less() -> None:
    padding = " filler" * 400
    shelf = library(a=f"# A\npod zebra{padding}", b="# B\npod zebra", c="# C\npod pod pod pod", d="# D\npod")
    assert titles(find(shelf, asked("pod zebra"), limit=4))[:2] == ["B", "A"]


def test_ten_thousand_sections_are_searched_in_time() -> None:
    section = compile_runbook("x.md", "# H").sections[0]
    books = [
        Runbook(
            path=f"{n}.md",
            title=f"T{n}",
            digest="",
            version="",
            sections=(replace(section, text="x", plain=f"pod {n} latency"),),
        )
        for n in range(10_000)
    ]
    shelf = Library.of(Corpus(version="1", runbooks=tuple(books)))
    began = time.process_time()
    assert find(shelf, asked("latency 4711"), fired("X", "https://r.example/4711.md"))[0].title == "T4711: H"
    assert time.process_time() - began < 1.0  # some 100 ms, most of it for an address seen for the first time


@pytest.mark.parametrize(
    "texts",
    [
        {"a": CRASH, "b": DISK},
        {"a": CRASH, "b": LATENCY},
        {"a": CRASH},
        {"a": CRASH, "b": DISK, "aa": LATENCY},
        {"c": LATENCY},
        {},
    ],
)
def test_a_library_made_from_the_one_before_finds_what_a_fresh_one_finds(texts: dict[str, str]) -> None:
    before = library(a=CRASH, b=DISK)
    before.learn(before.without_vector(99), [[1.0, 0.0]] * len(before.entries))
    questions = [asked(text) for text in ("pod logs", "images", "checkout latency", "disk pressure")]
    earlier = [find(before, plan, limit=9) for plan in questions]
    known = {runbook.path: runbook for runbook in before.corpus.runbooks}
    fresh = library(**texts)
    kept = [known[r.path] if r == known.get(r.path) else r for r in fresh.corpus.runbooks]
    made = Library.of(Corpus(version="2", runbooks=tuple(kept)), before)
    assert [find(made, plan, limit=9) for plan in questions] == [find(fresh, plan, limit=9) for plan in questions]
    assert [entry.id for entry in made.entries] == [entry.id for entry in fresh.entries]
    new = {each[0].runbook.path for each in made.without_vector(99)}
    assert new == {r.path for r in made.corpus.runbooks if r is not known.get(r.path)}
    assert [find(before, plan, limit=9) for plan in questions] == earlier
