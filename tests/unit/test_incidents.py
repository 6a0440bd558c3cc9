"""Incidents in questions and answers: which are asked for, who may see them, as they were known, told plainly."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from cag.extract import extractive_answer
from cag.gather import _with_named
from cag.incidents import incident_candidates, text_of
from cag.lag import LagReader
from cag.lookup import Lookup
from cag.question.plan import plan
from cag.rank import focus_of, select
from cag.scope import piece_visible_in, whole_visible_in
from processors.insights.documents import write_of
from processors.merge import join
from schemas.answer_settings import Ranking
from schemas.context import Context, Evidence, Freshness, Grant, Plan, Scope, SourceFreshness, Span, Turn
from schemas.documents import Names
from schemas.insights import AffectedEntity, Insight, RunbookReference
from schemas.settings import Kafka
from tests.unit.insight_cases import EVIDENCE, START, insight, later
from tests.unit.plan_cases import CATALOG, NOW
from tests.unit.test_library import DISK, LATENCY, SECRET, library

OPENED = insight()
UPDATED = later(OPENED, 3)
RESOLVED = later(UPDATED, 12, state="resolved", resolved=START + timedelta(minutes=7))
OTHER = insight(
    id="0" * 20, title="search is slow", causes=(), namespaces=("web",), symptoms=(),
    entities=(AffectedEntity(kind="workload", name="search", namespace="web", symptoms=1),),
)  # fmt: skip


def hit(*told: Insight) -> dict[str, Any]:
    stored: dict[str, Any] | None = None
    for each in told:
        write = write_of(each)
        stored = join(stored if stored is not None else write.fixed, orjson.loads(orjson.dumps(write.delta)))
    return {"_index": "shop-insights-v1-2026.11.20", "_id": write_of(told[0]).target.id, "_source": stored}


def asked(minutes: float, **more: Any) -> Plan:
    """A question about the ten minutes until so many after the incident began."""
    end = START + timedelta(minutes=minutes)
    return Plan(question="?", span=Span(start=end - timedelta(minutes=10), end=end), **more)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("what is open?", "open"),
        ("what's open right now?", "open"),
        ("any incidents right now?", "open"),
        ("is there an incident with checkout?", "open"),
        ("are there open incidents in shop", "open"),
        ("incidents?", "open"),
        ("which incidents were resolved today?", "resolved"),
        ("show me resolved incidents", "resolved"),
        ("is the checkout incident resolved?", "any"),
        ("list incidents since yesterday", "any"),
        ("how many incidents did we have last week?", "any"),
        ("what happened last night?", ""),
        ("what caused the incident?", ""),
        ("why did the outage of checkout happen", ""),
        ("how do I handle an incident?", ""),
        ("is checkout healthy?", ""),
        ("what changed before the incident?", ""),
        ("which ports are open on checkout", ""),
        ("how many open connections does payments-db have", ""),
        ("any incidents right now?|and payments?", "open"),
    ],
)
def test_which_incidents_a_question_asks_for(said: str, wanted: str) -> None:
    turns = [Turn(role="user", content=text) for text in said.split("|")]
    made = plan(turns, now=NOW, catalog=CATALOG, default_window=timedelta(minutes=30), zone=ZoneInfo("UTC"))
    assert made.incidents == wanted


@pytest.mark.parametrize(
    ("minutes", "wanted", "state"),
    [
        (0.1, "open", None),  # nobody could tell yet
        (1, "open", "Open"),
        (1, "", "Open"),
        (11, "open", "Open"),  # that it had ended could be told a minute later
        (13, "open", None),
        (13, "resolved", "Resolved"),
        (13, "", "Resolved"),
        (13, "any", "Resolved"),
        (30, "", None),  # over before the range
        (11, "resolved", None),
    ],
)
def test_an_incident_is_told_as_it_was_known_then(minutes: float, wanted: Any, state: str | None) -> None:
    made = asked(minutes, incidents=wanted)
    found = incident_candidates([hit(OPENED, UPDATED, RESOLVED)], made, made.span.end)
    assert [c.evidence.text.split()[0] for c in found] == ([state] if state else [])


def test_what_is_known_now_is_told_of_a_time_that_is_over() -> None:
    night = asked(5)
    (told,) = incident_candidates([hit(OPENED, UPDATED, RESOLVED)], night, START + timedelta(hours=6))
    assert told.evidence.text.startswith("Resolved incident")


def test_one_incident_under_two_days_is_told_once() -> None:
    (told,) = incident_candidates([hit(OPENED), hit(OPENED, UPDATED)], asked(5), START + timedelta(minutes=5))
    assert told.evidence.last == UPDATED.updated


SHOP, WEB, ALL = Grant(namespaces=("shop",), cluster_objects=False), Grant(namespaces=("web",)), Grant()


@pytest.mark.parametrize(
    ("scope", "namespaces", "seen"),
    [
        (Scope(), ("shop", "web", ""), True),
        (Scope(grants=(SHOP,)), ("shop",), True),
        (Scope(grants=(SHOP,)), ("shop", "web"), False),
        (Scope(grants=(SHOP,)), ("", "shop"), False),  # a node: needs cluster objects
        (Scope(grants=(SHOP, WEB)), ("shop", "web"), True),
        (Scope(grants=(Grant(clusters=("other",)), SHOP)), ("web",), False),
        (Scope(namespaces=("web",)), ("shop", "web"), True),  # narrowed, not forbidden
        (Scope(namespaces=("web",)), ("shop",), False),
        (Scope(clusters=("other",)), ("shop",), False),
        (Scope(grants=()), ("shop",), False),
        (Scope(grants=(ALL,)), (), False),
    ],
)
def test_an_incident_is_for_those_who_may_see_all_of_it(scope: Scope, namespaces: tuple[str, ...], seen: bool) -> None:
    assert whole_visible_in(scope, "prod", namespaces) is seen
    if namespaces:
        piece = Evidence(id="x", kind="incident", text="", cluster="prod", namespaces=namespaces)
        assert piece_visible_in(scope, piece) is seen


def ranked(made: Plan, *told: Insight) -> list[Evidence]:
    candidates = incident_candidates([hit(each) for each in told], made, made.span.end)
    return [c.evidence for c in select(candidates, made, focus_of(made, candidates, ()), Ranking(), 12)]


def test_the_incident_of_what_was_asked_about_comes_first_and_a_past_one_counts_less() -> None:
    found = ranked(asked(5, workloads=("search",)), OPENED, OTHER)
    assert [piece.title for piece in found] == ["search is slow", OPENED.title]
    assert found[0].score > 1.0 > found[1].score
    (over,) = ranked(asked(13, workloads=("inventory",)), RESOLVED)
    assert over.score < 1.0
    night = asked(13, workloads=("inventory",))
    (then,) = ranked(night.model_copy(update={"span": night.span.model_copy(update={"said": "last night"})}), RESOLVED)
    assert then.score > 1.0, "what is over by now is what happened then"


def answer(made: Plan, *cited: Evidence, missing: tuple[str, ...] = ()) -> str:
    newest = made.span.end
    sources = (SourceFreshness(topic="logs", workload="inventory", newest=newest),)
    seen = Freshness(asked_at=newest, newest=newest, sources=sources, missing=missing)
    return extractive_answer(Context(plan=made, evidence=cited, freshness=seen), cited)


ELSE = Evidence(id="x", kind="log", text="all is well", entity="workload/a", workload="a", severity="info", score=0.1)
SINCE = (
    "since 14:02:00 UTC (critical): inventory in shop: Connection is not available. Probable cause: inventory in shop"
)


@pytest.mark.parametrize(
    ("made", "cited", "says"),
    [
        (asked(5, incidents="open", intent="health"), True,
         ["**1 incident open:**", f"- Open {SINCE}", "[1].", "Nothing else is open."]),
        (asked(5, incidents="open", workloads=("inventory",)), False,
         ["**No incident is open with inventory**: 1 source, newest data 14:07:00 UTC."]),
        (asked(5, incidents="resolved"), False,
         ["**No incident was resolved between 13:57:00 and 14:07:00 UTC**: 1 source, newest data"]),
        (asked(5), True, ["**Known incidents:**", f"- Open {SINCE}", "Nothing stands out"]),
    ],
)  # fmt: skip
def test_it_is_said_plainly(made: Plan, cited: bool, says: list[str]) -> None:
    told = answer(made, *(ranked(made, OPENED) if cited else []), ELSE)
    assert [each for each in says if each not in told] == [], told


def test_as_many_are_shown_as_are_counted() -> None:
    long = [insight(id=f"{n:x}", title=f"number {n} {'word ' * 60}") for n in range(1, 9)]
    told = answer(asked(5, incidents="open"), *ranked(asked(5, incidents="open"), *long), ELSE)
    assert "**8 incidents open:**" in told
    assert [told.count("\n- Open since"), told.count("- and 3 more")] == [5, 1]
    assert all(len(line) < 360 for line in told.splitlines())


def test_what_to_do_is_of_the_runbook_that_the_incident_names() -> None:
    step = {"kind": "runbook", "text": "1. Find the leak", "title": "Pool"}
    guides = [Evidence(id=f"runbook-{n}", entity=f"runbook/{n}.md", **step) for n in ("other", "pool")]
    named = insight(runbooks=(RunbookReference(path="pool.md", section="Fix", evidence="runbook-pool"),))
    made = asked(5, incidents="open")
    told = answer(made, *ranked(made, named), *guides)
    assert "1. Find the leak [3]" in told
    assert "Runbook" not in told.partition("[1]")[0]
    assert "What to do next" not in answer(made, *ranked(made, OPENED), *guides)


@pytest.mark.parametrize(
    ("reference", "scope", "first"),
    [
        (RunbookReference(path="disk.md", section="Fix"), Scope(), "Disk pressure: Fix"),
        (RunbookReference(path="disk.md"), Scope(), "Disk pressure: Symptoms"),
        (RunbookReference(path="secret.md"), Scope(grants=(WEB,)), "Slow checkout: Diagnosis"),  # not the asker's
        (RunbookReference(path="https://r.example/x"), Scope(), "Slow checkout: Diagnosis"),
    ],
)
def test_the_section_that_an_incident_names_comes_first(reference: RunbookReference, scope: Scope, first: str) -> None:
    books = library(disk=DISK, latency=LATENCY, secret=SECRET)
    (other,) = [each for each in books.entries if each.runbook.path == "latency.md"]
    guides = [guide for guide in [books.get(other.id, Scope())] if guide]
    facts = ranked(asked(5, incidents="open"), insight(runbooks=(reference,)))
    assert _with_named(guides, facts, books, scope)[0].title == first
    assert _with_named(guides, [], books, scope) == guides


def test_what_is_missing_is_said_of_nothing_too() -> None:
    assert "Not everything could be seen" in answer(asked(5, incidents="open"), missing=("logs of shop",))


def test_a_long_incident_is_cut_part_by_part() -> None:
    many = tuple(AffectedEntity(kind="pod", name=f"p{n}" * 30, namespace="shop", symptoms=1) for n in range(50))
    told = insight(title="t" * 400, entities=many, runbooks=(RunbookReference(path="pool.md", section="Fix"),))
    assert len(text_of(told)) <= 900
    assert " and 46 more" in text_of(insight(entities=tuple(e.model_copy(update={"name": e.name[:3]}) for e in many)))


class Reader:
    """One incident, and the lines that it rests on, whatever the filters say."""

    def __init__(self, told: Insight, namespace: str = "shop") -> None:
        self._hit = hit(told)
        line = {"t": 0, "text": "x"}
        exemplars = [line | {"at": f"logs/i/0/{n}/0"} for n in (1, 2)]
        self._line = {"_source": {"cluster": "prod", "namespace": namespace, "exemplars": exemplars}}

    async def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"hits": {"hits": [self._hit if "insights" in index else self._line]}}


@pytest.mark.parametrize(
    ("scope", "namespace", "coordinates"),
    [
        (Scope(), "shop", ("logs/i/0/2/0", "logs/i/0/1/0")),
        (Scope(grants=(SHOP,)), "pay", ()),  # a filter that failed must not leak
        (Scope(grants=(WEB,)), "shop", None),
    ],
)
async def test_an_incident_leads_back_to_records(scope: Scope, namespace: str, coordinates: Any) -> None:
    lookup = Lookup(Reader(OPENED, namespace), Names("shop", "g1"))  # type: ignore[arg-type]
    found = await lookup.find("incident-20261120-ab12cd34ef56ab12cd34", scope)
    assert (found[0].coordinates if found else None) == coordinates
    if found:
        assert found[1][0]["title"] == OPENED.title


class Offsets(LagReader):
    """Of two partitions: ends, the first offsets of the last minute, what was acknowledged."""

    def __init__(self, ends: Any, since: Any, done: Any) -> None:
        super().__init__(Kafka())
        self._answers, self._done = [ends, since], done

    def _offsets(self, topics: Sequence[str], spec: Any) -> Any:
        found = self._answers.pop(0)
        return found if found is None else {("s", p): offset for p, offset in enumerate(found)}

    def _committed(self, topic: str, group: str, partitions: Sequence[int]) -> Any:
        return self._done if self._done is None else {("s", p): offset for p, offset in enumerate(self._done)}


@pytest.mark.parametrize(
    ("ends", "since", "done", "judged"),
    [
        ([10, 7], [8, -1], [8, 7], True),
        ([10, 7], [8, -1], [7, 7], False),
        ([10, 7], [8, -1], [8, 6], False),
        ([10, 0], [8, -1], [9], True),  # nothing was ever written there
        ([10, 7], [8, -1], [], False),
        ([], [], [], False),
        (None, None, None, None),
        ([10], [8], None, None),
    ],
)
def test_whether_all_that_was_seen_has_been_judged(ends: Any, since: Any, done: Any, judged: bool | None) -> None:
    assert Offsets(ends, since, done).judged("s", "g", 0) is judged


def test_evidence_is_named_in_the_document() -> None:
    assert EVIDENCE in str(hit(OPENED)["_source"]["insight"])
    assert datetime.fromisoformat(hit(OPENED)["_source"]["insight"]["started"]) == START
