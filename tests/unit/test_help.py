"""Every command says how it is used: a help text with a stray bracket ends in a traceback instead."""

from collections.abc import Iterator

import pytest
import typer.main
from click import Command, Context

from api.__main__ import app as api
from cag.__main__ import app as cag
from deploy.local.__main__ import app as local
from spark_jobs.archive import app as archive
from spark_jobs.index_history import app as history
from streams.__main__ import app as streams


def commands(command: Command, path: str) -> Iterator[tuple[str, Command]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}")


ALL = [
    found
    for name, app in (("streams", streams), ("cag", cag), ("api", api), ("local", local), ("archive", archive),
                      ("history", history))
    for found in commands(typer.main.get_command(app), name)
]  # fmt: skip


@pytest.mark.parametrize("command", [c for _, c in ALL], ids=[name for name, _ in ALL])
def test_help_is_readable(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Usage" in command.get_help(Context(command)) + capsys.readouterr().out
