"""The command line: `python -m saliency_core COMMAND`; parses, calls, prints, nothing else.

One module a family of commands. Everything a user can cause ends in one sentence on standard
error and exit status 2.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from saliency_core import __version__
from saliency_core.cli import (
    audit,
    checks,
    compare,
    database,
    debias,
    evaluate,
    inspect,
    serve,
    share,
    slices,
    suspects,
    what_if,
)
from saliency_core.cli.terminal import errors_to
from saliency_core.errors import UserError

app = typer.Typer(
    help="Audit a text classifier: which words drive it, in which layer, and where it goes wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"saliency {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Tell the version."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


COMMANDS = (
    serve.demo,
    audit.audit,
    inspect.runs,
    inspect.info,
    inspect.layers,
    evaluate.evaluate,
    inspect.errors,
    inspect.tokens,
    suspects.suspects,
    compare.compare,
    what_if.what_if,
    debias.debias,
    serve.dashboard,
    database.merge,
    database.prune,
    share.export,
    share.report,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(database.annotation_app, name="annotations")
app.add_typer(slices.app, name="slices")
app.add_typer(checks.app, name="checks")


def main() -> None:
    """Run the command line; user errors become one sentence and exit status 2."""
    try:
        app()
    except UserError as error:
        # Unbroken: a command in the sentence must survive being copied.
        errors_to.print(
            f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        sys.exit(2)
    except OSError as error:
        # A folder that can't be written, a disk that is full, a file that went meanwhile.
        place = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or type(error).__name__
        errors_to.print(f"Error: {place}{reason}.", style="red", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        errors_to.print(
            "Stopped. What was computed is kept; the same command goes on from there.", markup=False
        )
        sys.exit(130)
