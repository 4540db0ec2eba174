"""Help as plain lines: options in groups, values named briefly, examples that can be pasted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from saliency_core.program import program

EXAMPLES_OF = "saliency"
"""How the examples of `epilog` begin; the help shows what the program was called by."""
OTHERS = "Options"
"""Heading of options that belong to no group."""
VALUES = {"int": "N", "float": "X", "path": "FILE", "str": "TEXT"}
"""What stands for a value of a type."""


def option_row(option: TyperOption) -> tuple[str, str]:
    """Return an option with what stands for its value, and what it means."""
    names = ", ".join(sorted(option.opts, key=len))
    meaning = option.help or ""
    if option.is_flag:
        return names, meaning
    choices = "|".join(option.type_descriptor.choices or ())
    value = option.metavar or choices or VALUES.get(option.bare_type().lower(), "TEXT")
    if option.required:
        meaning += " Required."
    elif option.default not in (None, "") and "default" not in meaning:
        meaning = f"{meaning.rstrip('.')} (default: {option.default})."
    return f"{names} {value}", meaning


def write_options(command: Any, context: typer.Context, formatter: Any) -> None:
    """Write arguments and options, the options in their groups, those without one last."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        if not isinstance(parameter, TyperOption):
            name = parameter.display_name_raw.upper()
            groups.setdefault("Arguments", []).append((name, parameter.help or ""))
        elif not parameter.hidden:
            panel = parameter.rich_help_panel or OTHERS
            groups.setdefault(panel, []).append(option_row(parameter))
    if OTHERS in groups:
        groups[OTHERS] = groups.pop(OTHERS)
    for heading, rows in groups.items():
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=34)


class Command(TyperCommand):
    """A command with options in groups and examples."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return `[OPTIONS] MODEL DATASET`."""
        return [piece.strip("{}").upper() for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options."""
        write_options(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples as they are typed, unbroken."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    example = line.replace(EXAMPLES_OF, program(), 1)
                    formatter.write(f"{' ' * formatter.current_indent}{example}\n")


class Group(TyperGroup):
    """Commands in groups, in the order in which they were added."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            if not command.hidden:
                panel = command.rich_help_panel
                panel = panel if isinstance(panel, str) else "Commands"
                groups.setdefault(panel, []).append((name, command.get_short_help_str(200)))
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)
        write_options(self, ctx, formatter)


class Program(typer.Typer):
    """Commands whose help is of the kinds above; `-h` asks for it too."""

    def __init__(self, help: str) -> None:
        """Start without commands."""
        super().__init__(
            cls=Group,
            help=help,
            no_args_is_help=True,
            add_completion=False,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]},
        )

    def command(
        self, name: str | None = None, *, examples: Sequence[str] = (), **settings: Any
    ) -> Callable[..., Any]:
        """Add a command; `examples` are command lines that begin with `saliency`."""
        return super().command(name, cls=Command, epilog="\n".join(examples) or None, **settings)
