"""The command line: `python -m saliency_core COMMAND`; parses, calls, prints, nothing else.

One module a family of commands. Everything a user can cause ends in one sentence on standard
error and exit status 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from saliency_core import __version__
from saliency_core.cli import (
    annotate,
    audit,
    checks,
    compare,
    data_quality,
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
from saliency_core.cli.help import Program
from saliency_core.cli.progress_bar import GOES_ON, Stopped
from saliency_core.cli.terminal import tell
from saliency_core.errors import UserError

INTERRUPTED = 130
"""The exit status after Ctrl-C."""

app = Program(
    "Audit a text classifier: which words drive it, in which layer, and where it goes wrong."
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"saliency {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


COMMANDS: dict[str, dict[str, tuple[Callable[..., None], tuple[str, ...]]]] = {
    "Begin": {
        "demo": (serve.demo, ()),
        "audit": (audit.audit, audit.EXAMPLES),
        "dashboard": (serve.dashboard, ()),
    },
    "Look": {
        "runs": (inspect.runs, ()),
        "info": (inspect.info, ()),
        "layers": (inspect.layers, ()),
        "evaluate": (evaluate.evaluate, ()),
        "errors": (inspect.errors, inspect.EXAMPLES),
        "words": (inspect.words, ()),
        "compare": (compare.compare, ()),
        "data-quality": (data_quality.data_quality, data_quality.EXAMPLES),
    },
    "Find and fix shortcuts": {
        "suspects": (suspects.suspects, suspects.EXAMPLES),
        "what-if": (what_if.what_if, what_if.EXAMPLES),
        "debias": (debias.debias, debias.EXAMPLES),
    },
    "Share and keep": {
        "annotate": (annotate.annotate, annotate.EXAMPLES),
        "report": (share.report, ()),
        "export": (share.export, share.EXAMPLES),
        "merge": (database.merge, ()),
        "prune": (database.prune, ()),
    },
}
"""Panel of the help -> name of a command -> what it does, and examples of its use."""
GROUPS = {
    "slices": (slices.app, "Look"),
    "checks": (checks.app, "Find and fix shortcuts"),
    "annotations": (database.annotation_app, "Share and keep"),
}
for panel, commands in COMMANDS.items():
    for name, (function, examples) in commands.items():
        app.command(name, examples=examples, rich_help_panel=panel)(function)
    for name, (group, own) in GROUPS.items():
        if own == panel:
            app.add_typer(group, name=name, rich_help_panel=panel)
app.command("tokens", hidden=True)(inspect.words)


def _tell_usage(error: typer.TyperException) -> None:
    """Say what is wrong with the way a command was called, and how to learn the right one."""
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        tell(message)
        return
    context = getattr(error, "ctx", None)
    hint = f" `{context.command_path} --help` lists the options." if context is not None else ""
    tell(f"Error: {message}{'' if message.endswith(('.', '?')) else '.'}{hint}", "red")


def main() -> None:
    """Run the command line; what a user caused is one sentence and exit status 2."""
    try:
        status = app(standalone_mode=False)
        if status == INTERRUPTED:
            tell(f"Stopped. {GOES_ON}")
        sys.exit(status)
    except Stopped as stop:
        tell(str(stop))
        sys.exit(INTERRUPTED)
    except UserError as error:
        tell(f"Error: {error}", "red")
    except typer.TyperException as error:
        _tell_usage(error)
    except typer.Abort:
        tell("Nothing was done.")
        sys.exit(1)
    except BrokenPipeError:
        # Who read the output has seen enough, as `head` has.
        sys.stdout = None
        sys.exit(0)
    except OSError as error:
        # A folder that can't be written, a disk that is full, a file that went meanwhile.
        place = f"{error.filename}: " if error.filename else ""
        tell(f"Error: {place}{error.strerror or type(error).__name__}.", "red")
    sys.exit(2)
