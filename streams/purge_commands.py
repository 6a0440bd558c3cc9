"""`python -m streams purge --regex`: remove a secret that slipped through."""

from typing import Annotated

import typer


def purge(regex: Annotated[str, typer.Option(help="What to remove.")]) -> None:
    """Remove a secret that slipped through."""
    raise NotImplementedError(regex)
