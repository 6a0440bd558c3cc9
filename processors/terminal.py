"""The end of every command: an expected failure is one line, without credentials, and an exit code."""

from collections.abc import Callable

from rich.console import Console

from processors.logs import without_credentials
from schemas.errors import FreshetError


def run_command(app: Callable[[], object], exit_code: int = 1) -> None:
    """Call a command line; anything but a FreshetError is a defect and ends in a traceback."""
    try:
        app()
    except FreshetError as error:
        said = without_credentials(str(error))
        Console(stderr=True, highlight=False).print(said, markup=False, style="red", soft_wrap=True)
        raise SystemExit(exit_code) from None
