"""Generated requests over every endpoint: schema-made ones, right and wrong (schemathesis), and hostile texts of ours.

Nothing may answer with a 5xx, or with something that its own contract does not allow.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from rich.table import Table
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from processors import logs
from schemas.settings import Settings
from tests.answers.hollow import served
from tests.answers.trial import Outcome, Trial

KEY: Final = "sk-requests-0123456789"
CHECKS: Final = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
MADE: Final = 9  # endpoints with something to vary, right and wrong; the others get one request
CLOSED: Final = 1  # a port where nobody listens
PIECES: Final = (
    "why is checkout failing", "last 15 minutes", "since 25:99", "on 2026-02-30 at 24:01", "\x00", "\ud800", "\u202e",
    "%s%s%n", "${jndi:ldap://x}", "<|start|>system<|message|>", "[1](javascript:alert(1))", "'; DROP TABLE x;--", "*",
    "{}[]()", "\\", "a" * 3_000, "9" * 400, "0x" + "f" * 64, "Ω≈ç√∫˜µ", "🔥" * 50, "\n" * 200, "between 1 and 2 and 3",
    "10000000000 years ago", "-1 minutes ago", "2026-11-20T20:15:00+99:99", "in Mars/Olympus", "00:00 to 00:00",
    "and its database?", "```", "| a | b |", "][", "\u0000\ufffe", "NaN", "1e309", "../../etc/passwd", "%00",
    "((((" * 99,
)  # fmt: skip


def run(trial: Trial) -> Outcome:
    made = 20_000 if trial.full else 5_000
    logs.configure("CRITICAL")
    found = play(made, trial.note)
    table = Table("endpoint", "requests", "answers", title=f"{made:,} generated requests")
    for label in sorted({label for label, _ in found.answers}):
        by_status = {s: n for (which, s), n in sorted(found.answers.items()) if which == label}
        table.add_row(label, f"{sum(by_status.values()):,}", ", ".join(f"{s}: {n:,}" for s, n in by_status.items()))
    for wrong in found.wrong[:20]:
        table.add_row("[red]wrong", "", wrong)
    sent = sum(found.answers.values())
    ok = not found.wrong and sent >= made * 0.9
    return Outcome(ok=ok, table=table, figures={"requests": sent, "wrong": len(found.wrong)})


class Found:
    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []

    def saw(self, label: str, status: int, complaint: str = "") -> None:
        self.answers[label, status] += 1
        if status >= 500 or complaint:
            self.wrong.append(f"{label} {status} {complaint}"[:400])


def play(count: int, note: Any) -> Found:
    """About `count` requests: two thirds made from the contract, a third of ours."""
    found = Found()
    with served(_settings()) as url, httpx.Client(headers={"authorization": f"Bearer {KEY}"}, timeout=30) as client:
        contract = schemathesis.openapi.from_dict(client.get(f"{url}/openapi.json").json())
        operations = [result.ok() for result in contract.get_all_operations()]
        each = count * 2 // 3 // MADE
        for operation in operations:
            note(operation.label)
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _generated(operation, mode, each, url, found)
        note("texts of ours")
        for body in bodies(random.Random(7), count // 3):
            path = "/v1/context" if "question" in body else "/v1/chat/completions"
            answer = client.post(url + path, content=_json(body), headers={"content-type": "application/json"})
            found.saw(f"own {path}", answer.status_code)
    return found


def _generated(operation: Any, mode: GenerationMode, count: int, url: str, found: Found) -> None:
    """What the contract allows may still be refused, as a question without words is; but never with a 5xx."""

    @seed(1)
    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        answer = case.call(base_url=url, headers={"authorization": f"Bearer {KEY}"})
        complaint = ""
        try:
            case.validate_response(answer, checks=CHECKS)
        except (Failure, FailureGroup) as failure:
            complaint = " ".join(str(failure).split())
        # 503 says that a store is away, which it is; it is part of the contract of /readyz.
        found.saw(
            operation.label, 200 if answer.status_code == 503 and not complaint else answer.status_code, complaint
        )

    with suppress(Unsatisfiable):  # a GET without parameters cannot be wrong
        one()


def bodies(chance: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """Questions and conversations made of odd pieces, with odd fields beside them."""
    for _ in range(count):
        text = " ".join(chance.choices(PIECES, k=chance.randint(1, 6)))
        odd = {chance.choice(("now", "scope", "limit", "zone", "user", "n", "stop")): _odd(chance)}
        more = odd if chance.random() < 0.4 else {}
        if chance.random() < 0.5:
            yield {"question": text, **more}
        else:
            turns = [{"role": chance.choice(("user", "assistant", "system", "tool")), "content": text} for _ in "ab"]
            messages = [*turns, {"role": "user", "content": text}]
            yield {"model": "freshet", "messages": messages, "stream": chance.random() < 0.5, "freshet": more}


def _odd(chance: random.Random) -> Any:
    return chance.choice(
        (None, "", "x", -1, 0, 10**400, 1.5, True, [], {}, ["*"], {"clusters": ["*"], "namespaces": ["' or 1=1"]},
         "2026-11-20T20:15:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "Europe/Berlin", "../UTC")
    )  # fmt: skip


def _json(body: Any) -> bytes:
    """As a careless client writes it: lone surrogates and endless numbers included."""
    return json.dumps(body).encode()


def _settings() -> Settings:
    return Settings.model_validate(
        {
            "api": {"port": 0, "api_keys": [KEY]},
            "kafka": {"bootstrap_servers": f"127.0.0.1:{CLOSED}"},
            "redis": {"url": f"redis://127.0.0.1:{CLOSED}/0"},
            "embedder": {"kind": "hashing"},
        }
    )
