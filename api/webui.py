"""What only Open WebUI understands: source and status events in the stream, and its small tasks beside a question.

Observed with Open WebUI 0.12.4. Events are built from our own values only: one of type `execute` would run script in
the user's page. Its sources are numbered by their distinct ids in order of arrival, as are our citations.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any, Final

import orjson

from api.citations import link_of, name_of
from cag.tell import gist
from schemas.answer import AnswerPart, Source, Status
from schemas.chat import ChatRequest
from schemas.context import Evidence
from schemas.records import Coordinates

HEADER_PREFIX: Final = "x-openwebui-"
TASK_HEADER: Final = "x-openwebui-task"
TITLE_WORDS: Final = 8
TITLE_CHARS: Final = 60
LINE_CHARS: Final = 84  # what the dialog of a source shows without scrolling sideways
NAME_CHARS: Final = 30  # a longer name of a source is cut out in its middle, where a marker shows it

FOLLOW_UPS: Final = (
    "What changed{} in the last hour?",
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
_CULPRIT: Final = re.compile(r"([a-z0-9][a-z0-9-]{1,62}) in [a-z0-9-]{2,63}(?: itself)?,? (?:which )?logged `")
# Open WebUI looks for these wherever they stand, code included: it folds what follows them, or runs it in a frame.
_TAG: Final = re.compile(
    r"\\?[<◁](?=/?(?:think|reason|thought|code_interpreter|details|tool_calls|html|style|script)|\|(?:begin|end)_of_)",
    re.IGNORECASE,
)
# It opens a code block in these languages as a page or a picture, without being asked.
_LIVE_FENCE: Final = re.compile(r"([`~]{3}) ?(?:html|svg|xml|css|javascript|js|mermaid|vega)\b", re.IGNORECASE)
_AFTER_FENCE: Final = re.compile(r"([`~]{3})[ \t]+")
_MAY_BECOME_MARKUP: Final = re.compile(  # 16: the longest tag
    r"(?:\\|\\?[<◁][/|]?[a-z_]{0,16}|!|[`~]{1,3} ?[a-z]{0,16})\Z", re.IGNORECASE
)


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
        values = {"follow_ups": _follow_ups(talk)}
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


def _follow_ups(talk: str) -> list[str]:
    """What is asked next, about whom the latest answer names first."""
    culprit = _CULPRIT.search(talk.rpartition("ASSISTANT:")[2])
    return [text.format(f" in {culprit[1]}" if culprit else "") for text in FOLLOW_UPS]


def _tags(talk: str) -> list[str]:
    words = set(re.findall(r"[a-z]+", talk.lower()))
    found = [tag for tag, starts in _TAGS if any(word.startswith(starts) for word in words)]
    return ["operations", *found][:3]


class Events:
    """Turns one answer into what Open WebUI shows: statuses and sources as events, text without its traps."""

    def __init__(self) -> None:
        self._waiting: list[Source] = []
        self._sent = 0
        self._open = ""  # the text of a status that still shimmers
        self._held = ""  # the end of the text, when it may become markup

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

    def close(self, otherwise: str = "Done") -> Iterator[dict[str, Any]]:
        """A last status that is done: an open one would shimmer for ever, also after a reload.

        It says what was found; if nothing was, `otherwise`.
        """
        yield from self._sources()
        if not self._open:
            return
        self._open = ""
        found = {"action": "sources_retrieved", "count": self._sent} if self._sent else {"description": otherwise}
        yield _event("status", {**found, "done": True})

    def text(self, delta: str) -> str:
        """What to show of the text so far.

        A log line with `<think>` in it must not hide the rest of the answer, nor one with `<script>` run in a frame; no
        image may be fetched from anywhere.
        """
        text = _TAG.sub("‹", self._held + delta).replace("![", "! [")
        text = _LIVE_FENCE.sub(r"\1text", _AFTER_FENCE.sub(r"\1 ", text))
        unsure = _MAY_BECOME_MARKUP.search(text)
        cut = unsure.start() if unsure else len(text)
        self._held = text[cut:]
        return text[:cut]

    def rest(self) -> str:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held

    def _sources(self) -> Iterator[dict[str, Any]]:
        for source in self._waiting:
            self._sent += 1
            yield _event("source", _source(source.evidence))
        self._waiting = []


def _event(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"event": {"type": kind, "data": values}}


def _source(evidence: Evidence) -> dict[str, Any]:
    """Without a percentage: scores of telemetry and of runbooks do not compare, and neither is a share of certainty."""
    name, link = _name(evidence), link_of(evidence)
    # An id that looked like a URL would make the browser ask a public icon service for its host.
    key = evidence.id.replace("://", ":")
    return {
        "source": {"id": key, "name": name, **({"url": link} if link else {})},
        "document": [_document(evidence)],
        "metadata": [{"source": key, "name": name}],
    }


def _name(evidence: Evidence) -> str:
    """Kind, title, and whose metric it is. Of a log line who said it and its first words, since its end is no name.

    Never begins with `http`, as a metric may: the browser would ask the same icon service for it.
    """
    title = name_of(evidence)
    if not evidence.title:
        return title[:1].upper() + title[1:]
    if evidence.kind == "log":
        said = name_of(evidence.model_copy(update={"title": f"{evidence.workload}: {gist(evidence.text)}"}))
        return textwrap.shorten(f"Log: {said.removeprefix(': ')}", NAME_CHARS, placeholder="…")
    who = f" · {evidence.workload}" if evidence.kind == "metric" and evidence.workload else ""
    return f"{evidence.kind.capitalize()}: {title}{who}"


def _document(evidence: Evidence) -> str:
    """The evidence and where it comes from, as Markdown in which nothing of telemetry is markup."""
    # Commands of a runbook are copied, so their lines stay whole.
    text = evidence.text if evidence.kind == "runbook" else _folded(evidence.text)
    facts = [f"**{name}** {value}" for name, value in _facts(evidence) if value]
    return "\n".join([_fenced(text), "", *(f"- {fact}" for fact in facts)])


def _facts(evidence: Evidence) -> Iterator[tuple[str, str]]:
    yield "Evidence", _code(evidence.id)
    places = (("", evidence.entity), ("in ", evidence.namespace), ("on ", evidence.cluster))
    yield "From", " ".join(f"{word}{_code(place)}" for word, place in places if place)
    if evidence.first and evidence.last:
        first, last = evidence.first.astimezone(UTC), evidence.last.astimezone(UTC)
        end = "" if first == last else f" to {last:%H:%M:%S}" if first.date() == last.date() else f" to {last:%F %T}"
        yield "Seen", f"{first:%F %T}{end} UTC" + (f", {evidence.count} times" if evidence.count > 1 else "")
    for at in map(Coordinates.parse, evidence.coordinates):
        yield "Kafka", f"topic {_code(at.topic)} partition {at.partition} offset {at.offset} record {at.index}"


def _folded(text: str) -> str:
    lines = (textwrap.wrap(line, LINE_CHARS, tabsize=4, drop_whitespace=False) or [""] for line in text.splitlines())
    return "\n".join(piece for pieces in lines for piece in pieces)


def _code(text: str) -> str:
    """One line of code, whatever is in it."""
    line = " ".join(text.split()).replace("`", "'")
    return f"`{line}`"


def _fenced(text: str) -> str:
    """Text in a code fence: Open WebUI renders Markdown here, and telemetry must make no link and fetch no image."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
