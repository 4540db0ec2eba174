"""Commands that a page starts as processes of their own, and follows to their end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from app_components import session
from saliency_core.paths import default_database
from saliency_core.server import commands
from saliency_core.store import Run

SECONDS = 1.0
"""Between two looks at a running command."""


class Background:
    """One command for one run, at most one of them at a time."""

    def __init__(self, run: Run, *command: str) -> None:
        """Follow `command` for a run of a file."""
        self.command, self.run = command, run
        # A folder of its own keeps these out of the list of audits.
        self.folder = default_database().parent / "jobs" / "_".join(command)
        self.name = commands.safe_name(f"{run.store.path.stem}-run-{run.number}")

    def start(self, *arguments: str) -> None:
        """Start the command on the file and run unless it runs already; draw the page anew."""
        job = self.job()
        if job is not None and commands.is_running(job):
            st.rerun()
        path = self.run.store.path.resolve()
        arguments = (f"--db={path}", f"--run={self.run.number}", *arguments)
        commands.start(self.folder, self.name, arguments, path, command=self.command)
        st.rerun()

    def job(self) -> commands.Job | None:
        """Return what was started for this run, None where nothing was."""
        return next((job for job in commands.jobs(self.folder) if job.name == self.name), None)

    def follow(self, doing: str) -> str:
        """Show progress or failure of the command; return none, running, failed or finished."""
        job = self.job()
        if job is None:
            return "none"
        if commands.is_running(job):
            watch(job, partial(_progress, doing))
            return "running"
        failure = commands.failure(job)
        if failure is None:
            return "finished"
        st.error(session.escape(failure))
        if st.button("Dismiss", key=f"dismiss-{'-'.join(self.command)}", type="tertiary"):
            commands.forget(self.folder, job)
            st.rerun()
        return "failed"


def _progress(doing: str, step: commands.Step | None) -> tuple[float, str]:
    if step is None:
        return 0.0, f"{doing} (starting)"
    return step.part, f"{doing} ({session.escape(f'{step.stage}, {step.sentence()}')})"


@st.fragment(run_every=SECONDS)
def watch(
    job: commands.Job,
    progress: Callable[[commands.Step | None], tuple[float, str]],
    help: str | None = None,
) -> None:
    """Show how far a command is, in part and in words; when it has ended, draw the page anew."""
    if not commands.is_running(job):
        st.rerun()
    st.progress(*progress(commands.step(job)))
    if st.button("Stop", key=f"stop-{job.name}", help=help):
        commands.stop(job)
        st.rerun()
