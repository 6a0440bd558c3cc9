"""What the writers of set folders share: the description, the tasks, runbooks, files of lines."""

import gzip
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

SHARED: Final = Path(__file__).parents[3] / "shared" / "data"
RUNBOOKS: Final = "runbooks/corpus"


def write_described(
    out: Path, *, name: str, now: str, inputs: Sequence[tuple[str, str]], tasks: Iterable[Mapping[str, Any]],
    runbooks: str = "runbooks/",
) -> Path:  # fmt: skip
    """`set.json` and `tasks.jsonl`. `inputs`: the name of each file of lines, and the topic that it goes to."""
    out.mkdir(parents=True, exist_ok=True)
    described = {
        "name": name,
        "now": now,
        "inputs": [{"file": f"{file}.jsonl.gz", "topic": topic, "format": "auto"} for file, topic in inputs],
        "runbooks": runbooks,
    }
    (out / "set.json").write_bytes(orjson.dumps(described, option=orjson.OPT_INDENT_2))
    (out / "tasks.jsonl").write_bytes(b"".join(orjson.dumps(task) + b"\n" for task in tasks))
    return out


def copy_runbooks(source: Path, out: Path) -> None:
    """The corpus of real runbooks, with its folders."""
    for path in (source / RUNBOOKS).rglob("*.md"):
        target = out / "runbooks" / path.relative_to(source / RUNBOOKS)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)  # without its permissions: the source may be read-only


def write_lines(file: Path, values: Iterable[Any]) -> None:
    """One JSON value a line, compressed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wb", compresslevel=1) as lines:
        lines.writelines(orjson.dumps(value) + b"\n" for value in values)


def rows(path: Path) -> Iterator[Any]:
    """The values of a file of JSON lines."""
    with gzip.open(path, "rb") as lines:
        for line in lines:
            yield orjson.loads(line)
