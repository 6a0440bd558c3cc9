"""What people read of insights: lines on a terminal, and the JSON-Schema twin."""

import json

import jsonschema_rs
import pytest

from schemas.insights import Insight
from streams.insights import twin
from streams.insights.lines import Filters, line, whole
from tests.sample_insight import insight

EXAMPLE = twin.TWIN_FILE.with_name("incident_insight.example.json").read_text()


def test_a_line_says_state_title_cause_and_evidence() -> None:
    assert line(insight()).plain == (
        "2026-11-22 01:02:03Z  UPDATED  critical inc-1 r2  web fails  (prod ö/shop)  cause: node/n/1: first"
        "  [e1 e2 event-20261122-abc]"
    )
    merged = line(insight(state="merged", merged_into="inc-9", causes=(), symptoms=(), cluster="", namespaces=())).plain
    assert merged.endswith("MERGED   critical inc-1 r2  web fails  goes on as inc-9")


def test_what_telemetry_worded_stays_on_its_line() -> None:
    hostile = insight(title="a\nb\x1b[31m\u202e", cluster="\x07")
    for told in (line(hostile).plain, *whole(hostile).plain.split("\n")):
        assert told.isprintable()
    assert "\n" not in line(hostile).plain


def test_all_of_an_insight_is_shown() -> None:
    shown = whole(insight(reopened=2)).plain
    for part in ("reopened", "cause 1", "(0.70)", "rolled out", "workload/web", "restarts ö", "web.md", "3 in all"):
        assert part in shown


@pytest.mark.parametrize(("filters", "taken"), [
    (Filters(), True), (Filters(cluster="prod ö", namespace="shop"), True), (Filters(cluster="prod"), False),
    (Filters(namespace="sho"), False), (Filters(states=["opened", "updated"]), True),
    (Filters(states=["merged"]), False), (Filters(severities=["critical"]), True),
    (Filters(severities=["info"]), False), (Filters(entity="web"), True),
    (Filters(entity="workload/web"), True), (Filters(entity="node/n/1"), True), (Filters(entity="pod/web"), False),
])  # fmt: skip
def test_filters(filters: Filters, taken: bool) -> None:
    assert filters.take(insight()) is taken


def test_the_twin_is_up_to_date() -> None:
    assert twin.TWIN_FILE.read_text() == twin.text(), "python -m streams insights schema --json-schema > " + str(
        twin.TWIN_FILE
    )


def test_the_twin_takes_what_is_written_and_what_is_newer_and_nothing_else() -> None:
    valid = jsonschema_rs.validator_for(twin.json_schema()).is_valid
    for text in (insight().model_dump_json(), EXAMPLE):
        told = json.loads(text)
        assert valid(told)
        assert valid(told | {"ticket": "T-1", "state": "escalated"})
        assert not valid({name: value for name, value in told.items() if name != "title"})
        assert not valid(told | {"revision": "2"})
    assert Insight.model_validate_json(EXAMPLE).causes[0].name == "inventory"
