"""What only Open WebUI understands: source and status events in the stream, and its small tasks beside a question.

Observed with Open WebUI 0.12.4. Events are built from our own values only: one of type `execute` would run script in
the user's page. Its sources are numbered by their distinct ids in order of arrival, as are our citations.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from api.citations import link_of, name_of
from schemas.answer import AnswerPart, Source, Status
from schemas.chat import ChatRequest
from schemas.context import Evidence

HEADER_PREFIX: Final = "x-openwebui-"
TASK_HEADER: Final = "x-openwebui-task"
TITLE_WORDS: Final = 8
TITLE_CHARS: Final = 60

FOLLOW_UPS: Final = (
    "What changed in the hour before?",
    "Which runbook covers this, and what is its first step?",
    "Is anything else affected right now?",
)
_TAGS: Final = (  # a tag, and the beginnings of words that call for it
    ("crashes", ("crash", "restart", "oom", "kill", "panic")),
    ("latency", ("slow", "latenc", "timeout", "timing")),
    ("network", ("dns", "network", "connect", "certificat", "tls")),
    ("scheduling", ("schedul", "evict", "node", "disk", "pressure")),
    ("deploys", ("deploy", "rollout", "release", "version")),
    ("alerts", ("alert", "firing", "page")),
)
_HISTORY: Final = re.compile(r"<chat_history>(.*?)</chat_history>", re.DOTALL)
_QUESTION: Final = re.compile(r"^\s*USER:\s*(.+)$", re.MULTILINE)


def is_webui(headers: Mapping[str, str]) -> bool:
    return any(name.lower().startswith(HEADER_PREFIX) for name in headers)


def task_answer(request: ChatRequest, headers: Mapping[str, str]) -> str | None:
    """The answer to a task of Open WebUI (title, tags, follow-ups) from the prompt alone; None: it is a question.

    Such a task comes together with the question itself, so it must cost nothing. A task that is not known gets `{}`,
    which Open WebUI skips silently.
    """
    prompt = request.messages[-1].content
    named = headers.get(TASK_HEADER, "")
    if not named and (request.stream or not prompt.startswith("### Task:") or "<chat_history>" not in prompt):
        return None
    history = _HISTORY.search(prompt)
    talk = history[1] if history else ""
    if named == "title_generation" or '"title"' in prompt:
        values: dict[str, object] = {"title": _title(talk)}
    elif named == "follow_up_generation" or '"follow_ups"' in prompt:
        values = {"follow_ups": FOLLOW_UPS}
    elif named == "tags_generation" or '"tags"' in prompt:
        values = {"tags": _tags(talk)}
    else:
        values = {}
    return orjson.dumps(values).decode()


def _title(talk: str) -> str:
    """The beginning of the first question; there is no answer yet when a title is asked for."""
    asked = _QUESTION.search(talk)
    words = re.sub(r"[^\w\s./:?'-]", " ", asked[1]).split() if asked else []
    title = " ".join(words[:TITLE_WORDS])[:TITLE_CHARS].strip()
    return title[:1].upper() + title[1:] if title else "Question about the system"


def _tags(talk: str) -> list[str]:
    words = set(re.findall(r"[a-z]+", talk.lower()))
    found = [tag for tag, starts in _TAGS if any(word.startswith(starts) for word in words)]
    return ["operations", *found][:3]


class Events:
    """Turns statuses and sources into Open WebUI's events. One per answer."""

    def __init__(self) -> None:
        self._waiting: list[Source] = []
        self._sent = 0
        self._open = ""  # the text of a status that still shimmers

    def of(self, part: AnswerPart) -> Iterator[dict[str, Any]]:
        """The events that come before `part`'s own chunk, if it has one."""
        if isinstance(part, Source):
            self._waiting.append(part)
            return
        yield from self._sources()
        if isinstance(part, Status):
            self._open = "" if part.done else part.text
            yield _event("status", {"description": part.text, "done": part.done})
        else:
            yield from self.close()

    def close(self) -> Iterator[dict[str, Any]]:
        """A last status that is done: an open one would shimmer for ever, also after a reload."""
        yield from self._sources()
        if not self._open:
            return
        self._open = ""
        found = {"action": "sources_retrieved", "count": self._sent} if self._sent else {"description": "Done"}
        yield _event("status", {**found, "done": True})

    def _sources(self) -> Iterator[dict[str, Any]]:
        best = max((source.evidence.score for source in self._waiting), default=0.0)
        for source in self._waiting:
            self._sent += 1
            yield _event("source", _source(source.evidence, best))
        self._waiting = []


def _event(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"event": {"type": kind, "data": values}}


def _source(evidence: Evidence, best: float) -> dict[str, Any]:
    """Shown as a share of the best score: all in 0..1, else no percentage appears at all."""
    name, link = name_of(evidence), link_of(evidence)
    # An id that looked like a URL would make the browser ask a public icon service for its host.
    key = evidence.id.replace("://", ":")
    return {
        "source": {"id": key, "name": name, **({"url": link} if link else {})},
        "document": [_inert(evidence.text)],
        "metadata": [{"source": key, "name": name}],
        "distances": [min(1.0, max(0.0, evidence.score / best)) if best > 0 else 1.0],
    }


def _inert(text: str) -> str:
    """Text in a code fence: Open WebUI renders Markdown here, and telemetry must make no link and fetch no image."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
