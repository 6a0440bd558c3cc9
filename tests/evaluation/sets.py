"""A labelled set on disk: `set.json`, `tasks.jsonl`, recordings, runbooks. Reading it is where mistakes are found."""

import hashlib
import re
from pathlib import Path
from typing import Any, Final, Self

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.context import Scope, Turn
from schemas.records import Format

KINDS: Final = {"runbook": "path", "evidence": "regex", "object": "name"}  # kind of expectation -> what it must carry
NAME_CHARS: Final = 16  # of a set's own name in topics, indices and keys


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Recording(_Line):
    """One file of Kafka values and the topic that they go to."""

    file: str
    topic: str
    format: Format = Format.AUTO


class Task(_Line):
    """One question with what the answer's evidence must hold."""

    id: str
    group: str = ""
    question: str = ""
    turns: tuple[Turn, ...] = ()
    now: AwareDatetime | None = None
    scope: Scope = Scope()
    expect: tuple[dict[str, Any], ...] = ()
    forbid: tuple[str, ...] = ()
    abstain: bool = False

    @field_validator("expect")
    @classmethod
    def _understood(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for each in value:
            wanted = KINDS.get(each.get("kind", ""))
            if wanted is None or not isinstance(each.get(wanted), str):
                raise ValueError(f"not an expectation: {each}")
            re.compile(each.get("regex", ""))
        return value

    @field_validator("forbid")
    @classmethod
    def _compiled(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for regex in value:
            re.compile(regex)
        return value

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if bool(self.question) == bool(self.turns):
            raise ValueError("a task has either question or turns")
        return self


class LabelledSet(_Line):
    name: str
    now: AwareDatetime
    inputs: tuple[Recording, ...] = ()
    runbooks: str = ""
    folder: Path = Path()
    tasks: tuple[Task, ...] = Field(default=(), min_length=1)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises OSError and ValueError (pydantic's among them) for a set that cannot be used."""
        described = orjson.loads((folder / "set.json").read_bytes())
        lines = (folder / "tasks.jsonl").read_bytes().splitlines()
        tasks = [orjson.loads(line) for line in lines if line.strip()]
        return cls.model_validate({**described, "folder": folder.resolve(), "tasks": tasks})

    @property
    def handle(self) -> str:
        """Prefix of everything that running this set makes; no handle is the beginning of another one."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.name.lower())[:NAME_CHARS].strip("-")
        return f"eval-{slug}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]}"

    def path(self, name: str) -> Path:
        return self.folder / name
