"""`dashboard` and `demo`: open the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saliency_core.cli.progress_bar import GOES_ON, progress_bar
from saliency_core.cli.terminal import Database, Quiet
from saliency_core.paths import DEMO, default_database, demo_folder
from saliency_core.pipeline.options import STAGES, AuditOptions

DEMO_STAGES = ("training the language model", "training the classifier", *STAGES, "deleting words")


def dashboard(
    database: Database = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8501,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only serve.")] = False,
) -> None:
    """Open the dashboard on 127.0.0.1."""
    if database is not None and not database.is_file():
        print(f"{database} does not exist yet: the first page offers to make an audit.")
    from saliency_core.server.launch import serve

    serve(database or default_database(), port=port, open_browser=not no_browser)


def demo(
    folder: Annotated[Path | None, typer.Option(help="Where it is built.")] = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8501,
    no_dashboard: Annotated[
        bool, typer.Option("--no-dashboard", help="Build and audit only.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only serve.")] = False,
    quiet: Quiet = False,
) -> None:
    """Build the embedded demonstration, audit it, look for its flaws and open the dashboard."""
    from saliency_core.demo.build import build_demo, find_flaws
    from saliency_core.pipeline.run_audit import audit as run_audit

    folder = folder or demo_folder()
    database = folder / DEMO
    with progress_bar(quiet, *DEMO_STAGES, when_stopped=GOES_ON) as progress:
        built = build_demo(folder, progress=progress)
        options = AuditOptions(
            text_column="text", label_column="label", id_column="id", lm_head=str(built.lm_head)
        )
        result = run_audit(
            str(built.model), str(built.dataset), db=database, options=options, progress=progress
        )
        find_flaws(built, database, progress)
    if not quiet:
        print(result.sentence())
    if not no_dashboard:
        from saliency_core.server.launch import serve

        serve(database, port=port, open_browser=not no_browser)
