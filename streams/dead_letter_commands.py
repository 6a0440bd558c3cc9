"""`python -m streams dead-letters list | show | replay`."""

import typer

app = typer.Typer(no_args_is_help=True, help="What could not be used: look at it, mend the cause, count it after all.")
