"""A labelled set on disk: `set.json`, `tasks.jsonl`, recordings, runbooks. Reading it is where mistakes are found."""

import hashlib
import re
from pathlib import Path
from typing import Any, Final, Literal, Self

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from schemas.records import Format

KINDS: Final = {"runbook": "path", "evidence": "regex", "object": "name"}  # kind of expectation -> what it must carry
NAME_CHARS: Final = 16  # of a set's own name in topics, indices and keys


class _Line(BaseModel):
    """Keys that are not known are for others."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Recording(_Line):
    """One file of Kafka values and the topic that they go to."""

    file: str
    topic: str
    format: Format = Format.AUTO


class Asker(_Line):
    """What the asker narrows the question to; empty: no narrower."""

    clusters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()


class Message(_Line):
    role: Literal["system", "user", "assistant"] = "user"
    content: str


class Expectation(_Line):
    """One thing that the evidence must hold: what each kind of them may say."""

    kind: Literal["runbook", "evidence", "object"]
    path: str = ""
    section: str | None = ""
    regex: str = ""
    signal: Literal["", "log", "metric", "event", "alert"] | None = ""
    name: str = ""

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        if not getattr(self, KINDS[self.kind]):
            raise ValueError(f"not an expectation: {self.kind} without {KINDS[self.kind]}")
        compiled(self.regex)
        return self


class Task(_Line):
    """One question with what the answer's evidence must hold."""

    id: str
    group: str = ""
    question: str = ""
    turns: tuple[Message, ...] = ()
    now: AwareDatetime | None = None
    scope: Asker = Asker()
    expect: tuple[dict[str, str], ...] = ()
    forbid: tuple[str, ...] = ()
    abstain: bool = False

    @field_validator("expect", mode="before")
    @classmethod
    def _understood(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return [{key: text for key, text in _expectation(each).model_dump().items() if text} for each in value]

    @field_validator("forbid")
    @classmethod
    def _compiled(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(compiled(regex) for regex in value)

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if bool(self.question.strip()) == bool(self.turns):
            raise ValueError("a task has either question or turns")
        if self.turns and not any(turn.role == "user" and turn.content.strip() for turn in self.turns):
            raise ValueError("no turn is the user's: a conversation has either question or turns that ask something")
        return self

    @property
    def asked(self) -> str:
        """All that the user has typed, for searches that know nothing of conversations."""
        return self.question or "\n".join(turn.content for turn in self.turns if turn.role == "user")


class LabelledSet(_Line):
    name: str
    now: AwareDatetime
    inputs: tuple[Recording, ...] = ()
    runbooks: str | None = ""
    folder: Path = Path()
    tasks: tuple[Task, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises OSError and ValueError, whose text is one line, for a set that cannot be used."""
        described = _json(folder / "set.json", (folder / "set.json").read_bytes())
        lines = enumerate((folder / "tasks.jsonl").read_bytes().splitlines(), 1)
        tasks = [_task(f"tasks.jsonl, line {number}", line) for number, line in lines if line.strip()]
        if not tasks:
            raise ValueError("tasks.jsonl is empty: a set asks something")
        try:
            chosen = cls.model_validate({**described, "folder": folder.resolve(), "tasks": tasks})
        except ValidationError as error:
            raise ValueError(f"set.json: {said(error)}") from None
        for file in (*(recording.file for recording in chosen.inputs), *filter(None, [chosen.runbooks])):
            if not chosen.path(file).exists():
                raise ValueError(f"set.json names {file}, which is not in the folder")
        return chosen

    @property
    def handle(self) -> str:
        """Prefix of everything that running this set makes; no handle is the beginning of another one."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.name.lower())[:NAME_CHARS].strip("-")
        return f"eval-{slug}-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]}"

    def path(self, name: str) -> Path:
        return self.folder / name


def _json(where: Path | str, line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where}: not a JSON object")
    return value


def _task(where: str, line: bytes) -> Task:
    try:
        return Task.model_validate(_json(where, line))
    except ValidationError as error:
        raise ValueError(f"{where}: {said(error)}") from None


def _expectation(value: Any) -> Expectation:
    try:
        return Expectation.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"not an expectation: {value} ({said(error)})") from None


def said(error: ValidationError) -> str:
    """The first complaint in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def compiled(regex: str) -> str:
    """Python's flavour, flags at the beginning allowed. Raises ValueError, where `re` has an error of its own."""
    try:
        re.compile(regex)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error}): {regex}") from None
    return regex
