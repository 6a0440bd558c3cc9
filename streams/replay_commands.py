"""`python -m streams replay TOPICS`, and `replay diff | promote | discard` for shadow generations."""

import typer

app = typer.Typer(no_args_is_help=True, help="Read topics again, into the live generation or into a shadow of it.")
