"""The command line: `python -m saliency_core COMMAND`; parses, calls, prints, nothing else.

One module a family of commands. Everything a user can cause ends in one sentence on standard
error and exit status 2.
"""

from __future__ import annotations

import sys

import typer

from saliency_core.cli import (
    auditing,
    evaluating,
    keeping,
    reading,
    serving,
    sharing,
    slicing,
    suspecting,
)
from saliency_core.cli.terminal import errors_to
from saliency_core.errors import UserError

app = typer.Typer(
    help="Audit a text classifier: which words drive it, in which layer, and where it goes wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

COMMANDS = (
    serving.demo,
    auditing.audit,
    reading.runs,
    reading.info,
    reading.layers,
    evaluating.evaluate,
    reading.errors,
    reading.tokens,
    suspecting.suspects,
    suspecting.what_if,
    suspecting.mend,
    serving.dashboard,
    keeping.merge,
    keeping.prune,
    sharing.export,
    sharing.report,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(keeping.annotations, name="annotations")
app.add_typer(slicing.app, name="slices")
app.add_typer(suspecting.checks, name="checks")


def main() -> None:
    """Run the command line; user errors become one sentence and exit status 2."""
    try:
        app()
    except UserError as error:
        errors_to.print(f"Error: {error}", style="red", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        errors_to.print(
            "Stopped. What was computed is kept; the same command goes on from there.", markup=False
        )
        sys.exit(130)
