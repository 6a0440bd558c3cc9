"""Markdown in, compiled runbook out: a pure function of path and text."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import yaml
from markdown_it import MarkdownIt

from schemas.errors import InvalidRecord
from schemas.runbooks import HEADING_SEPARATOR, Runbook, Section

MAX_DOCUMENT_BYTES: Final = 1_048_576
MAX_LINES: Final = 20_000  # bounds the time of the parser: below a second for the worst text
MAX_FRONT_MATTER_CHARS: Final = 16_384
MAX_NESTING_MARKS: Final = 500  # in front matter; enough for its lists, too few to exhaust a stack
MAX_SECTION_CHARS: Final = 8_000
MAX_SECTIONS: Final = 500
MAX_NAMES: Final = 100  # per front matter list, and alert names per section
MAX_NAME_CHARS: Final = 200
MAX_PATH_CHARS: Final = 512

# Not the safe loader: it follows merge keys, which a hostile document can nest until they fill the memory. The base
# loader makes strings, lists and mappings only; the one in C is four times as fast where it was built.
_YAML_LOADER: Final = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_NESTING: Final = re.compile(r"[\[{]|[-?:]\s")

# Block structure only: inline rules cost most of the time, and some inputs make them quadratic.
_BLOCKS: Final = MarkdownIt("commonmark").disable("inline")

# C0 but tab and newline, DEL, C1, bidirectional controls, zero-width space, BOM, and tag characters: nothing that a
# reader sees, much that can hide text from one.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)
_WEB_ADDRESS: Final = re.compile(r"https?://[!-~]{1,1000}")
_WORD: Final = re.compile(r"\b[A-Za-z][A-Za-z0-9]{4,79}\b")
_HUMP: Final = re.compile(r"^[a-z0-9]+|[A-Z]+(?![a-z])[0-9]*|[A-Z][a-z0-9]+")
_CAPITALISED: Final = re.compile(r"[A-Z][a-z][A-Za-z0-9]*")
# Every pattern is linear in the text: no nested repeats, and bounds on what may stand between two marks. Each is tried
# only where one of its marks stands: looking for a word costs a tenth of looking for a pattern.
_MARKUP: Final = (
    (
        ("```", "~~~"),
        re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE),
        "",
    ),  # fence lines; the code between them stays
    (("](",), re.compile(r"!?\[([^\[\]\n]{0,500})\]\([^()\n]{0,1000}\)"), r"\1"),  # links and images: their words
    (("{{",), re.compile(r"\{\{[^{}\n]{0,300}\}\}"), ""),  # shortcodes of site generators
    (("<!--",), re.compile(r"<!--[^<]{0,2000}-->"), ""),
    (("<",), re.compile(r"</?[A-Za-z][^<>\n]{0,300}>"), ""),
    (
        (">", "# ", "#\t", "- ", "-\t", "* ", "*\t", "+ ", "+\t"),
        re.compile(r"^[ \t]{0,12}(?:>[ \t]?|#{1,6}[ \t]|[-*+][ \t])+", re.MULTILINE),
        "",
    ),
    (("|", ":", "=", "-"), re.compile(r"^[ \t]*[|:=-][|:= \t-]*$", re.MULTILINE), ""),  # rules and table borders
    (
        ("_",),
        re.compile(r"(?<![A-Za-z0-9_])_+(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])_+(?![A-Za-z0-9_])"),
        "",
    ),  # not snake_case
    (("*", "`", "~~"), re.compile(r"[*`]+|~~"), ""),
    (("  ", "\t", "|"), re.compile(r"[ \t|]+"), " "),
)


def normalise_path(raw: str | bytes | None) -> str:
    """The path that a message key names, in one spelling. Raises InvalidRecord for anything but a relative path."""
    if not raw:
        raise InvalidRecord("runbook without a key: the key is its path")
    try:
        text = raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError as error:
        raise InvalidRecord("runbook path is not UTF-8") from error
    path = unicodedata.normalize("NFC", text)
    if len(path) > MAX_PATH_CHARS:
        raise InvalidRecord(f"runbook path is longer than {MAX_PATH_CHARS} characters")
    if "\\" in path or "\n" in path or "\t" in path or _INVISIBLE.search(path):
        raise InvalidRecord("runbook path holds a backslash or a control character")
    if any(part.strip() in ("", ".", "..") for part in path.split("/")):
        raise InvalidRecord("runbook path is not a plain relative path")
    return path


def compile_runbook(path: str, text: str, *, version: str = "", published_ms: int = 0, source_url: str = "") -> Runbook:
    """Split Markdown into sections. `version` defaults to the digest of the text.

    Raises InvalidRecord when the document is empty or too large, and when its front matter restricts who may
    read it in a form that is not understood: guessing could show it to everyone.
    """
    path = normalise_path(path)
    raw = text.encode(errors="replace")
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise InvalidRecord(f"runbook is larger than {MAX_DOCUMENT_BYTES} bytes")
    clean = _visible(raw.decode().replace("\r\n", "\n").replace("\r", "\n"))
    if clean.count("\n") > MAX_LINES:
        raise InvalidRecord(f"runbook has more than {MAX_LINES} lines")
    front, body = _front_matter(clean)
    lines = body.split("\n")
    outline = _outline(body, lines)
    warnings = list(front.warnings)
    stem = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    title = front.title or (outline.headings[0].words if outline.headings else "") or stem
    alerts = _distinct([*front.alerts, *_alert_of_file(stem, outline)])
    sections: list[Section] = []
    for section in _sections(outline, lines, title, alerts):
        if len(sections) == MAX_SECTIONS:
            warnings.append(f"only the first {MAX_SECTIONS} sections are kept")
            break
        sections.append(section)
    if not sections:
        raise InvalidRecord("runbook is empty")
    digest = sha256(raw).hexdigest()
    return Runbook(
        path=path,
        title=title,
        alerts=alerts,
        services=front.services,
        namespaces=front.namespaces,
        pinned=front.pinned,
        sections=tuple(sections),
        digest=digest,
        version=_visible(version)[:MAX_NAME_CHARS] or digest,
        published_ms=published_ms,
        source_url=source_url if _WEB_ADDRESS.fullmatch(source_url) else "",
        warnings=tuple(warnings),
    )


def _visible(text: str) -> str:
    return _INVISIBLE.sub("", text)


# -- front matter ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _FrontMatter:
    title: str = ""
    alerts: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    pinned: bool = False
    warnings: tuple[str, ...] = ()


def _front_matter(text: str) -> tuple[_FrontMatter, str]:
    """What stands between two `---` lines at the very start, and the rest of the text."""
    if not text.startswith("---\n"):
        return _FrontMatter(), text
    end = re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE).search(text, 4)
    if end is None:
        return _FrontMatter(), text  # a rule across the page, not front matter
    block, body = text[4 : end.start()], text[end.end() :]
    try:
        if len(block) > MAX_FRONT_MATTER_CHARS or len(_NESTING.findall(block)) > MAX_NESTING_MARKS:
            raise ValueError("too large")
        fields = yaml.load(block, Loader=_YAML_LOADER)  # noqa: S506
        if fields is None or fields == "":
            return _FrontMatter(), body
        if not isinstance(fields, dict):
            raise TypeError("not a mapping")
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        if "namespaces" in block:
            raise InvalidRecord("front matter names namespaces but cannot be read") from error
        return _FrontMatter(warnings=("front matter cannot be read and is ignored",)), body
    return _read_fields(fields), body


def _read_fields(fields: dict[Any, Any]) -> _FrontMatter:
    warnings: list[str] = []

    def names(key: str) -> tuple[str, ...]:
        value = fields.get(key, [])
        items = [value] if isinstance(value, str) else value
        good = isinstance(items, list) and len(items) <= MAX_NAMES
        if not good or not all(isinstance(i, str) and len(i) <= MAX_NAME_CHARS for i in items):
            if key == "namespaces":
                raise InvalidRecord("front matter: namespaces must be a list of names")
            warnings.append(f"front matter: {key} must be a list of names; ignored")
            return ()
        return _distinct([i.strip() for i in items if i.strip()])

    if "namespaces" in fields and not names("namespaces"):
        raise InvalidRecord("front matter: namespaces is there but names none")
    title = fields.get("title", "")
    if not isinstance(title, str):
        warnings.append("front matter: title must be a text; ignored")
        title = ""
    return _FrontMatter(
        title=" ".join(title.split())[:MAX_NAME_CHARS],
        alerts=names("alerts"),
        services=names("services"),
        namespaces=names("namespaces"),
        pinned=str(fields.get("pinned", "")).lower() in ("true", "yes", "on"),
        warnings=tuple(warnings),
    )


# -- sections ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heading:
    level: int
    words: str
    first_line: int
    body_line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outline:
    headings: tuple[_Heading, ...]
    block_lines: tuple[int, ...]  # first line of every top-level block: where a long section may be cut
    lines: int


def _outline(body: str, lines: list[str]) -> _Outline:
    """Headings and blocks by line, from the parser's own line ranges: a `#` inside code is no heading."""
    headings, blocks = [], []
    tokens = _BLOCKS.parse(body)
    for token, following in zip(tokens, [*tokens[1:], None], strict=False):
        if token.level != 0 or token.map is None:
            continue
        blocks.append(token.map[0])
        if token.type == "heading_open" and following is not None:
            headings.append(
                _Heading(
                    level=int(token.tag[1:]),
                    words=_plain(following.content).replace("\n", " ")[:MAX_NAME_CHARS],
                    first_line=token.map[0],
                    body_line=token.map[1],
                )
            )
    return _Outline(headings=tuple(headings), block_lines=tuple(blocks), lines=len(lines))


def _sections(outline: _Outline, lines: list[str], title: str, alerts: tuple[str, ...]) -> Iterator[Section]:
    anchors = _Anchors()
    headings = outline.headings
    lone_title = sum(h.level == 1 for h in headings) == 1 and headings[0].level == 1
    first = headings[0].first_line if headings else outline.lines
    spans = [("", title, 0, first)]
    above: list[_Heading] = []
    for heading, end in zip(headings, [*(h.first_line for h in headings[1:]), outline.lines], strict=False):
        above = [*(h for h in above if h.level < heading.level), heading]
        named = [h.words for h in (above[1:] if lone_title else above)]
        spans.append((heading.words, HEADING_SEPARATOR.join(n for n in named if n) or title, heading.body_line, end))
    if not any(line.strip() for _, _, start, end in spans for line in lines[start:end]):
        # Nothing but headings: the headings are the text.
        spans = [("", title, 0, outline.lines)] if headings else []
    for words, heading_path, start, end in spans:
        parts = list(_parts(lines, start, end, outline.block_lines))
        anchor = anchors.take(words or "top") if words or parts else ""
        for number, text in enumerate(parts):
            yield Section(
                anchor=anchor if number == 0 else anchors.take(f"{anchor}-part-{number + 1}"),
                heading=heading_path,
                text=text,
                plain="\n".join(dict.fromkeys((title, heading_path, _plain(text)))),
                alerts=_distinct([*alerts, *_mentioned(text)])[:MAX_NAMES],
            )


def _parts(lines: list[str], start: int, end: int, block_lines: tuple[int, ...]) -> Iterator[str]:
    """The text of these lines in pieces of at most `MAX_SECTION_CHARS`, cut between blocks where that is possible."""
    cuts = block_lines[bisect_right(block_lines, start) : bisect_right(block_lines, end - 1)]
    held = ""
    for a, b in zip((start, *cuts), (*cuts, end), strict=True):
        block = "\n".join(lines[a:b]) + "\n"
        if len(held) + len(block) > MAX_SECTION_CHARS:
            if held.strip():
                yield held.strip("\n")
            held = ""
            while len(block) > MAX_SECTION_CHARS:
                at = block.rfind("\n", 0, MAX_SECTION_CHARS) + 1 or MAX_SECTION_CHARS
                if block[:at].strip():
                    yield block[:at].strip("\n")
                block = block[at:]
        held += block
    if held.strip():
        yield held.strip("\n")


class _Anchors:
    """Anchors as GitHub makes them: lower case, spaces to dashes, a number behind repeated ones."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._repeats: dict[str, int] = {}

    def take(self, words: str) -> str:
        kept = "".join(c for c in words.strip().lower() if c.isalnum() or c in "-_ ")
        slug = kept.replace(" ", "-")[:80] or "section"
        anchor, number = slug, self._repeats.get(slug, 0)
        while anchor in self._taken:
            number += 1
            anchor = f"{slug}-{number}"
        self._repeats[slug] = number
        self._taken.add(anchor)
        return anchor


def _plain(markdown: str) -> str:
    for marks, pattern, replacement in _MARKUP:
        if any(mark in markdown for mark in marks):
            markdown = pattern.sub(replacement, markdown)
    return "\n".join(line.strip() for line in markdown.split("\n") if line.strip())


def _mentioned(text: str) -> list[str]:
    """Words of three humps or more (`etcdNoLeader`, `KubeAPIDown`): two are mostly kinds and products."""
    return [word for word in _WORD.findall(text) if not word[1:].islower() and _humps(word) >= 3]


def _humps(word: str) -> int:
    return len(_HUMP.findall(word))


def _alert_of_file(stem: str, outline: _Outline) -> list[str]:
    """The alert after which a file is named: `KubePodCrashLooping.md`, or `Watchdog.md` under that very heading."""
    if _WORD.fullmatch(stem) and _humps(stem) >= 2:
        return [stem]
    heading = outline.headings[0].words if outline.headings else ""
    return [stem] if heading == stem and _CAPITALISED.fullmatch(stem) else []


def _distinct(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
