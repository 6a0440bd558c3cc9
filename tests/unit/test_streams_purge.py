"""What a purge changes in a document and what it leaves alone; which expressions it takes."""

import json
import re

import pytest
from typer.testing import CliRunner

from cag.runbooks import compile_runbook
from schemas.documents import Target
from schemas.errors import StartupError
from schemas.settings import Settings
from streams import purge as module
from streams.__main__ import app
from streams.purge import PURGED, Purge, pattern_of

COORDINATES = "logs/topic-id/0/7/0"


def test_texts_go_and_structure_stays() -> None:
    purge = Purge(re.compile("zebra|logs"))
    source = {
        "pattern_id": "zebra",
        "count": 2,
        "slices": {"topic-id/0/0": [7, 2]},
        "last_ms": 5,
        "exemplars": [
            {"at": COORDINATES, "h": "zebra", "t": 5, "text": "a zebra"},
            {"at": "logs/i/1/2/0", "text": "x"},
        ],
        "labels": {"topic": "zebra", "zebra": "1"},
    }
    target = Target("occurrences", "2026.11.20", "id")
    cleaned = purge.document(target, source)
    assert cleaned is not None
    assert cleaned["exemplars"][0] == {"at": COORDINATES, "h": "zebra", "t": 5, "text": f"a {PURGED}"}
    assert cleaned["labels"] == {"topic": PURGED, PURGED: "1"}
    assert {k: cleaned[k] for k in ("pattern_id", "count", "slices")} == {
        k: source[k] for k in ("pattern_id", "count", "slices")
    }
    purge.note(target, source, cleaned)
    assert (purge.records, purge.topic_ids, purge.newest_ms) == ({COORDINATES}, {"topic-id"}, 5)
    assert purge.document(target, cleaned) is None, "twice changes nothing"


@pytest.mark.parametrize(("text", "kept"), [("a zebra", False), ("nothing", True)])
def test_only_a_pattern_that_changed_loses_its_vector(text: str, kept: bool) -> None:
    source = {"template": text, "workload": "zebra", "vector": [1.0]}
    cleaned = Purge(re.compile("zebra")).document(Target("patterns", "2026.11.20", "id"), source)
    assert cleaned is not None
    assert ("vector" in cleaned) is kept


def test_runbooks_keep_their_path() -> None:
    runbook = compile_runbook("zebra.md", "# Zebra\n\nUse zebra here.\n")
    cleaned = Purge(re.compile("zebra")).runbook(runbook)
    assert (cleaned.path, cleaned.digest) == (runbook.path, runbook.digest)
    assert "zebra" not in cleaned.sections[0].text
    assert Purge(re.compile("gnu")).runbook(runbook) is runbook


@pytest.mark.parametrize("regex", ["", "a*", ".", "(", "x" * 1_001, r"[\s\S]"])
def test_expressions_that_are_refused(regex: str) -> None:
    with pytest.raises(StartupError):
        pattern_of(regex)


def test_an_expression_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_A_DOCUMENT", 0.05)
    with pytest.raises(StartupError, match="narrow it"):
        Purge(re.compile("(?:a+)+b")).document(Target("events", "", "id"), {"message": "a" * 64})


def test_nobody_is_asked_where_nobody_can_answer() -> None:
    done = CliRunner().invoke(app, ["purge", "--regex", "zebra"])
    assert isinstance(done.exception, StartupError)
    assert "--yes" in str(done.exception)


def test_own_rules_come_as_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [{"name": "ours", "regex": "acme_[a-z]{8}"}]
    monkeypatch.setenv("FRESHET_REDACTION__EXTRA", json.dumps(rules))
    assert Settings.load().redaction.extra[0].name == "ours"
    monkeypatch.setenv("FRESHET_REDACTION__EXTRA", json.dumps([{"name": "ours", "regex": "a+"}]))
    with pytest.raises(StartupError, match="FRESHET_REDACTION__EXTRA__0__REGEX"):
        Settings.load()
