"""Cards of audits that were started: how far they are, how they ended, and what to do next."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from app_components import session
from app_components.background_command import watch
from app_components.new_audit.values import cache_folder, choose, fill, values
from saliency_core.errors import UserError
from saliency_core.paths import DEMO, demo_folder
from saliency_core.progress import duration
from saliency_core.server import commands
from saliency_core.server.audit_request import EXISTING, AuditRequest
from saliency_core.server.page_words import (
    called_by,
    in_page_words,
    is_about_order,
    offered_label_map,
)
from saliency_core.store import Run

STAGES = {
    "checking": "checking the file, the model and the labels",
    "auditing": "computing the saliency",
    "evaluating layers": "testing which layer to trust",
    "deleting words": "testing which words change the prediction",
}


def folder() -> Path:
    """Return where the jobs are remembered."""
    return cache_folder() / "jobs"


def begin(request: AuditRequest) -> None:
    """Start the audit that a form asks for; the page is about it from now on."""
    place = cache_folder()
    _launch(
        request.job_name(place),
        request.arguments(place),
        request.database(place),
        form=values() | request.as_dict(),
    )


def start_demonstration() -> None:
    """Build the demonstration in the background."""
    place = demo_folder().absolute()
    arguments = ("--no-dashboard", f"--folder={place}")
    _launch("demonstration", arguments, place / DEMO, command=("demo",))


def _launch(name: str, arguments: tuple[str, ...], database: Path, **more: Any) -> None:
    job = commands.start(folder(), name, arguments, database, **more)
    st.session_state["audit_job"] = job.name


def current() -> commands.Job | None:
    """Return the audit that this session started last, else one that runs; None for neither."""
    known = commands.jobs(folder())
    name = st.session_state.get("audit_job")
    mine = next((job for job in known if job.name == name), None)
    if mine is not None or "audit_job" in st.session_state:
        return mine
    return next((job for job in known if commands.is_running(job)), None)


def others(shown: commands.Job | None) -> list[commands.Job]:
    """Return the audits that were started but the one that is shown."""
    return [job for job in commands.jobs(folder()) if shown is None or job.name != shown.name]


def card(job: commands.Job) -> None:
    with st.container(border=True):
        st.markdown(f"**{title(job)}**")
        {"running": _running, "finished": _finished, "stopped": _stopped, "failed": _failed}[
            commands.state(job)
        ](job)


def title(job: commands.Job) -> str:
    """Return what is audited, by what, and where it goes."""
    if job.command == ("demo",):
        return "The demonstration"
    form = AuditRequest.of(job.form)
    parts = [form.called or form.source, session.name_of(form.model)]
    limit = f", first {form.limit:,} rows" if form.limit else ""
    into = Path(job.database).name
    return " · ".join(session.escape(part) for part in parts if part) + session.escape(
        f"{limit} → {into}"
    )


def another() -> None:
    """Show the form again, with what was filled in."""
    st.session_state["audit_job"] = None
    choose("name", "")


def _button(
    job: commands.Job, label: str, does: str, on_click: Callable, *args: Any, **options: Any
) -> None:
    st.button(label, key=f"{does}-{job.name}", on_click=on_click, args=args, **options)


# While it runs


def _running(job: commands.Job) -> None:
    watch(job, partial(_progress, job), help="What has been computed is kept.")
    st.caption("You may leave this page or close it: the audit continues.")


def _progress(job: commands.Job, step: commands.Step | None) -> tuple[float, str]:
    so_far = f"{duration(max(0.0, time.time() - job.started))} so far"
    if step is None:
        return 0.0, f"Starting: loading the program, {so_far}"
    number = f"Step {step.number} of {step.stages}: " if step.number else ""
    text = f"{number}{STAGES.get(step.stage, step.stage)}, {step.sentence()} · {so_far}"
    # What is done of the steps before counts too.
    whole = step.part if not step.number else (step.number - 1 + step.part) / step.stages
    return whole, session.escape(text[0].upper() + text[1:])


# When it has ended


def _run(job: commands.Job) -> Run | None:
    """Return the run of a job as far as it is in the file."""
    try:
        run = session.store_at(job.database).run(commands.run_number(job))
        return run if run.filter().count() else None
    except UserError:
        return None


def _report(run: Run) -> bytes:
    # Charts and statistics take seconds to load, which an audit can be begun without.
    from saliency_core.output.report import write_report

    return session.written(partial(write_report, run.filter()), "report.html")


def _finished(job: commands.Job) -> None:
    run = _run(job)
    if run is None:
        st.warning("It finished, but its results are no longer there.")
        _forget(job)
        return
    right = "" if run.accuracy is None else f", {run.accuracy:.1%} right"
    st.success(session.escape(f"Finished: {run.filter().count():,} examples{right}."))
    session.tell_warnings(run.warnings)
    with st.container(horizontal=True):
        _open(job, run, "Open results")
        if session.ask(Run.comparable, run):
            _button(job, "Compare", "compare", _lead_to("compare", job, run))
        st.download_button(
            "Download report",
            lambda: _report(run),
            f"{Path(job.database).stem}-report.html",
            "text/html",
            key=f"report-{job.name}",
            on_click="ignore",
            help="A single HTML page that needs no other files.",
        )
        if job.form:
            _button(job, "Audit again with another model", "again", _again, job)
        _forget(job)


def _lead_to(page: str, job: commands.Job, run: Run) -> Callable[[], None]:
    return partial(session.go_to, page, db=job.database, run=run.number)


def _open(job: commands.Job, run: Run, label: str) -> None:
    _button(job, label, "open", _lead_to("overview", job, run), type="primary")


def _again(job: commands.Job) -> None:
    """Fill the form with the same data, for another model into the same file."""
    into = str(Path(job.database).absolute())
    fill(job.form | {"model": "", "trust_labels": False, "place": EXISTING, "into": into})


def _stopped(job: commands.Job) -> None:
    step, run = commands.step(job), _run(job)
    after = ""
    if step is not None and step.total:
        after = (
            f" while {STAGES.get(step.stage, step.stage)}, after {step.done:,} of {step.total:,}"
        )
    killed = commands.exit_status(job) != commands.INTERRUPTED
    reason = (
        " It was stopped from outside; a common reason is running out of memory." if killed else ""
    )
    st.warning(session.escape(f"Stopped{after}.{reason} Resume continues from there."))
    with st.container(horizontal=True):
        if st.button("Resume", key=f"resume-{job.name}", type="primary"):
            database = Path(job.database)
            _launch(job.name, job.arguments, database, command=job.command, form=job.form)
            st.rerun()
        if run is not None:
            _open(job, run, "Open results so far")
        _forget(job)


def _failed(job: commands.Job) -> None:
    form = AuditRequest.of(job.form)
    said = called_by(commands.failure(job) or "", form.source, form.called)
    offered = offered_label_map(said)
    # Where the repair is a button, the sentence need not tell the way to it.
    is_turned = bool(offered) and is_about_order(said)
    words = said.partition(" Repair it with")[0] if is_turned else in_page_words(said)
    st.error(f"**Failed.** {session.escape(words)}")
    with st.container(horizontal=True):
        if is_turned:
            _button(
                job,
                "Swap the labels" if len(offered) == 2 else "Reorder the labels",
                "swap",
                _change_and_start,
                job,
                {"label_map": offered},
                type="primary",
                help=", ".join(f"{old} means {new}" for old, new in offered.items()),
            )
            trust = {"trust_labels": True}
            _button(job, "The labels are right", "trust", _change_and_start, job, trust)
        if job.form:
            _button(
                job,
                "Correct and try again",
                "correct",
                _correct,
                job,
                {} if is_turned or not offered else {"label_map": offered},
                type="secondary" if is_turned else "primary",
            )
        _forget(job)


def _change_and_start(job: commands.Job, change: dict[str, Any]) -> None:
    """Start a failed audit with something changed; its card gives way to the new one."""
    _correct(job, change)
    begin(AuditRequest.of(values()))


def _correct(job: commands.Job, change: dict[str, Any]) -> None:
    """Show the form of a failed audit again, with something changed."""
    fill(job.form | change)
    commands.forget(folder(), job)


def _forget(job: commands.Job) -> None:
    def forget() -> None:
        commands.forget(folder(), job)
        st.session_state["audit_job"] = None

    _button(
        job,
        "Remove from list",
        "forget",
        forget,
        type="tertiary",
        help="Removes this card; the database is kept.",
    )
