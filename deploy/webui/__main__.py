"""`python -m deploy.webui`: install Open WebUI and the browser's driver ahead of time, or take the screenshots."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from deploy.webui import environments, screenshots
from schemas.errors import FreshetError

Cache = Annotated[Path, typer.Option(envvar="FRESHET_CACHE", help="folder of what is downloaded")]
CACHE: Final = Path("~/.cache/freshet")
out = Console(highlight=False)
program = typer.Typer(no_args_is_help=True, add_completion=False)


@program.command()
def install(cache: Cache = CACHE) -> None:
    """Install what `make demo UI=1`, the browser test and the screenshots need; does nothing when it is there."""
    try:
        for environment in (environments.PRODUCT, environments.BROWSER):
            home = environments.install(environment, cache, typer.echo)
            out.print(f"{environment.title} is in {home}", soft_wrap=True)
        out.print(f"browser: {environments.chromium()}")
    except FreshetError as error:
        out.print("[red]error:[/]", str(error), soft_wrap=True)
        raise typer.Exit(1) from None


@program.command()
def shoot(
    folder: Annotated[Path, typer.Option(help="where the pictures go")] = Path("deploy"),
    state: Annotated[Path, typer.Option(help="folder of the services")] = Path(".local"),
    cache: Cache = CACHE,
) -> None:
    """Ask about an incident in the real Open WebUI on real services, and take the pictures of the README."""
    try:
        screenshots.take(folder, state, cache)
    except (FreshetError, AssertionError) as error:
        out.print("[red]error:[/]", str(error), soft_wrap=True, markup=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    program()
