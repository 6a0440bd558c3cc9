"""What the answer to one bulk item means: an HTTP 200 around it says nothing.

Pause (credentials, configuration), dead letter (bad data) and retry (overload) are three words, never confused.
"""

import re
from enum import StrEnum
from typing import Any, Final


class Verdict(StrEnum):
    DONE = "done"  # durable, or superseded by what is there
    RETRY = "retry"  # overload, or an unknown outcome: the same item again after a wait (ids make it safe)
    RACE = "race"  # a scripted update lost against another writer: again at once
    CREATE_INDEX = "create-index"  # make the day's index, then again
    SPLIT = "split"  # the request was too large
    REJECT = "reject"  # this document is bad: dead letter
    PAUSE = "pause"  # only an operator can mend it: alarm, wait, never acknowledge


NOOP: Final = "noop"
_OVERLOAD: Final = {429, 500, 502, 503, 504}
# Refusals that are about the cluster, not the document. Read at the beginning of the reason only: further in, it may
# quote the document, and a log line must not be able to say "the cluster is full".
_NOT_THE_DOCUMENT: Final = re.compile(
    r"cluster_block_exception|index_closed_exception|validation_exception"
    r"|illegal_argument_exception: (?:Validation Failed: \d+: )?this action would add \["  # ShardLimitValidator
)


def classify(*, create: bool, status: int, reason: str = "") -> Verdict:
    """The verdict on one item. `create`: an immutable document was offered; `reason`: error type and text."""
    if status in (200, 201):
        return Verdict.DONE
    if status == 409:
        return Verdict.DONE if create else Verdict.RACE
    if status == 404:
        return Verdict.CREATE_INDEX if reason.startswith("index_not_found_exception") else Verdict.RETRY
    if status == 413:
        return Verdict.SPLIT
    if status in (401, 403) or (status in (400, 429) and _NOT_THE_DOCUMENT.match(reason)):
        return Verdict.PAUSE
    if status == 400:
        return Verdict.REJECT
    return Verdict.RETRY if status in _OVERLOAD or status >= 500 else Verdict.PAUSE


def item_outcome(item: Any) -> tuple[str, int, str] | None:
    """(document id, status, error type and reason) of one item of a bulk answer; None when it cannot be read.

    The reason of an update that changed nothing is NOOP.
    """
    if not isinstance(item, dict) or len(item) != 1:
        return None
    (body,) = item.values()
    if not isinstance(body, dict) or not isinstance(body.get("status"), int) or not isinstance(body.get("_id"), str):
        return None
    error = body.get("error")
    if isinstance(error, dict):
        return body["_id"], body["status"], f"{error.get('type')}: {error.get('reason')} {error.get('caused_by', '')}"
    return body["_id"], body["status"], str(error or (NOOP if body.get("result") == NOOP else ""))
