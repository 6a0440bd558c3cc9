"""Whether evidence meets an expectation, and where."""

from typing import Any

import pytest

from deploy.judge import meets, ranks
from schemas.context import Evidence

LOG = Evidence(
    id="l", kind="log", text="dial tcp: refused", namespace="shop", workload="web", entity="pod/web-7d9f-abcde"
)
EVENT = Evidence(id="e", kind="event", text="OOMKilling Node/node-1: web", entity="node/node-1")
GUIDE = Evidence(
    id="r", kind="runbook", text="Restart it.", title="Web down: Mitigation", entity="runbook/a/WebDown.md"
)


@pytest.mark.parametrize(
    ("expectation", "evidence", "met"),
    [
        ({"kind": "evidence", "regex": "refused"}, LOG, True),
        ({"kind": "evidence", "regex": "(?i)REFUSED", "signal": "log"}, LOG, True),
        ({"kind": "evidence", "regex": "refused", "signal": "event"}, LOG, False),
        ({"kind": "evidence", "regex": "^refused"}, LOG, False),
        ({"kind": "object", "name": "web"}, LOG, True),  # the owner counts
        ({"kind": "object", "name": "web-7d9f-abcde"}, LOG, True),  # and so does the pod itself
        ({"kind": "object", "name": "we"}, LOG, False),
        ({"kind": "object", "name": "node-1"}, EVENT, True),
        ({"kind": "runbook", "path": "a/WebDown.md"}, GUIDE, True),
        ({"kind": "runbook", "path": "a/WebDown.md", "section": "mitigation"}, GUIDE, True),
        ({"kind": "runbook", "path": "a/WebDown.md", "section": "Impact"}, GUIDE, False),
        ({"kind": "runbook", "path": "WebDown.md"}, GUIDE, False),
    ],
)
def test_meets(expectation: dict[str, Any], evidence: Evidence, met: bool) -> None:
    assert meets(expectation, evidence) is met


def test_runbooks_and_facts_are_ranked_apart() -> None:
    expect = [
        {"kind": "runbook", "path": "a/WebDown.md"},
        {"kind": "object", "name": "node-1"},
        {"kind": "evidence", "regex": "refused"},
        {"kind": "evidence", "regex": "never said"},
    ]
    assert ranks(expect, [GUIDE, EVENT, LOG]) == [1, 1, 2, None]


def test_the_first_match_counts() -> None:
    assert ranks([{"kind": "evidence", "regex": "."}], [EVENT, LOG]) == [1]


def test_unknown_expectations_are_refused() -> None:
    with pytest.raises(ValueError, match="colour"):
        ranks([{"kind": "colour"}], [LOG])
