"""What each answer of a bulk item means; a log line must not be able to steer it."""

from typing import Any

import pytest

from processors.outcomes import Verdict, classify, item_outcome

FULL = "this action would add [2] total shards, but this cluster currently has [1000]/[1000] maximum shards open"


@pytest.mark.parametrize(
    ("create", "status", "reason", "verdict"),
    [
        (True, 200, "", Verdict.DONE),
        (False, 201, "", Verdict.DONE),
        (True, 409, "version_conflict_engine_exception: x", Verdict.DONE),  # immutable: it is there
        (False, 409, "version_conflict_engine_exception: x", Verdict.RACE),  # a lost race is never the end
        (False, 404, "index_not_found_exception: no such index", Verdict.CREATE_INDEX),
        (False, 404, "document_missing_exception: [_doc][index_not_found_exception]", Verdict.RETRY),
        (True, 413, "", Verdict.SPLIT),
        (True, 401, "", Verdict.PAUSE),
        (True, 403, "cluster_block_exception: read-only", Verdict.PAUSE),
        (True, 429, "cluster_block_exception: flood-stage watermark", Verdict.PAUSE),
        (True, 429, "rejected_execution_exception: queue", Verdict.RETRY),
        (True, 400, f"validation_exception: Validation Failed: 1: {FULL};", Verdict.PAUSE),
        (True, 400, f"illegal_argument_exception: Validation Failed: 1: {FULL};", Verdict.PAUSE),
        (True, 400, f"illegal_argument_exception: {FULL}", Verdict.PAUSE),
        (True, 400, "index_closed_exception: closed", Verdict.PAUSE),
        (True, 400, "mapper_parsing_exception: failed to parse", Verdict.REJECT),
        (True, 400, f"mapper_parsing_exception: preview of field's value: '{FULL}'", Verdict.REJECT),
        (True, 400, "mapper_parsing_exception: 'validation_exception'", Verdict.REJECT),
        *[(True, status, "", Verdict.RETRY) for status in (429, 500, 502, 503, 504, 507)],
        (True, 405, "", Verdict.PAUSE),
    ],
)
def test_each_outcome_has_one_verdict(create: bool, status: int, reason: str, verdict: Verdict) -> None:
    assert classify(create=create, status=status, reason=reason) is verdict


@pytest.mark.parametrize(
    ("item", "read"),
    [
        ({"update": {"_id": "a", "status": 200}}, ("a", 200, "")),
        ({"create": {"_id": "a", "status": 400, "error": {"type": "t", "reason": "r"}}}, ("a", 400, "t: r ")),
        ({"create": {"_id": "a", "status": 500, "error": "text"}}, ("a", 500, "text")),
        ({"create": {"_id": "a"}}, None),
        ({"create": {"_id": 7, "status": 200}}, None),
        ({"create": {"_id": "a", "status": "200"}}, None),
        ({"create": "a"}, None),
        ({}, None),
        ({"a": {}, "b": {}}, None),
        (None, None),
    ],
)
def test_an_item_is_read_or_not_believed(item: Any, read: tuple[str, int, str] | None) -> None:
    assert item_outcome(item) == read
