"""Cards of audits that were started: how far they are, how they ended, and what to do next."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import streamlit as st

from app_components import session
from app_components.new_audit.values import cache_folder, fill, values
from saliency_core.errors import UserError
from saliency_core.output.report import write_report
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

SECONDS = 1.0
"""Between two looks at a running audit."""
STAGES = {
    "checking": "checking the file, the model and the labels",
    "auditing": "computing the saliency",
    "evaluating layers": "testing which layer to trust",
    "deleting words": "testing which words change the prediction",
}
DEMONSTRATION = "demonstration"


def folder() -> Path:
    """Return where the jobs are remembered."""
    return cache_folder() / "jobs"


def start(request: AuditRequest) -> None:
    """Start the audit that a form asks for; the page is about it from now on."""
    _begin(request)
    st.rerun()


def _begin(request: AuditRequest) -> None:
    place = cache_folder()
    job = commands.start(
        folder(),
        request.job_name(place),
        request.arguments(place),
        request.database(place),
        form=values() | request.as_dict(),
    )
    st.session_state["audit_job"] = job.name


def start_demonstration() -> None:
    """Build the demonstration in the background."""
    place = demo_folder().absolute()
    arguments = ("--no-dashboard", f"--folder={place}")
    job = commands.start(folder(), DEMONSTRATION, arguments, place / DEMO, command=("demo",))
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
    """Show an audit."""
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
    values()["name"] = ""
    st.session_state.pop("audit_field_name", None)


# While it runs


@st.fragment(run_every=SECONDS)
def _watch(name: str) -> None:
    job = next((one for one in commands.jobs(folder()) if one.name == name), None)
    if job is None or not commands.is_running(job):
        st.rerun()
    step = commands.step(job)
    so_far = f"{duration(max(0.0, time.time() - job.started))} so far"
    if step is None:
        st.progress(0.0, f"Starting: loading the program, {so_far}")
    else:
        number = f"Step {step.number} of {step.stages}: " if step.number else ""
        stage = STAGES.get(step.stage, step.stage)
        # What is done of the steps before counts too.
        whole = step.part if not step.number else (step.number - 1 + step.part) / step.stages
        text = f"{number}{stage}, {step.sentence()} · {so_far}"
        st.progress(whole, session.escape(text[0].upper() + text[1:]))
    if st.button("Stop", key=f"stop-{name}", help="What has been computed is kept."):
        commands.stop(job)
        st.rerun()


def _running(job: commands.Job) -> None:
    _watch(job.name)
    st.caption("You may leave this page or close it: the audit continues.")


# When it has ended


def _run(job: commands.Job) -> Run | None:
    """Return the run of a job as far as it is in the file."""
    try:
        store = session.store_at(job.database)
        run = store.run(commands.run_number(job))
        return run if run.filter().count() else None
    except UserError:
        return None


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
            st.button(
                "Compare",
                key=f"compare-{job.name}",
                on_click=session.go_to,
                args=("compare",),
                kwargs={"db": job.database, "run": str(run.number)},
            )
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
            st.button(
                "Audit again with another model",
                key=f"again-{job.name}",
                on_click=_again,
                args=(job,),
            )
        _forget(job)


def _report(run: Run) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "report.html"
        write_report(run.filter(), output)
        return output.read_bytes()


def _open(job: commands.Job, run: Run, label: str) -> None:
    st.button(
        label,
        type="primary",
        key=f"open-{job.name}",
        on_click=session.go_to,
        args=("overview",),
        kwargs={"db": job.database, "run": str(run.number)},
    )


def _again(job: commands.Job) -> None:
    """Fill the form with the same data, for another model into the same file."""
    fill(job.form | {"model": "", "trust_labels": False})
    values().update(place=EXISTING, into=str(Path(job.database).absolute()))
    st.session_state["audit_job"] = None


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
            commands.start(
                folder(), job.name, job.arguments, Path(job.database), job.command, job.form
            )
            st.session_state["audit_job"] = job.name
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
        if offered and is_turned:
            st.button(
                "Swap the labels" if len(offered) == 2 else "Reorder the labels",
                type="primary",
                key=f"swap-{job.name}",
                on_click=_change_and_start,
                args=(job, {"label_map": offered}),
                help=", ".join(f"{old} means {new}" for old, new in offered.items()),
            )
            st.button(
                "The labels are right",
                key=f"trust-{job.name}",
                on_click=_change_and_start,
                args=(job, {"trust_labels": True}),
            )
        if job.form:
            st.button(
                "Correct and try again",
                type="secondary" if is_turned else "primary",
                key=f"correct-{job.name}",
                on_click=_correct,
                args=(job, {} if is_turned or not offered else {"label_map": offered}),
            )
        _forget(job)


def _change_and_start(job: commands.Job, change: dict[str, Any]) -> None:
    """Start a failed audit with something changed; its card gives way to the new one."""
    fill(job.form | change)
    commands.forget(folder(), job)
    _begin(AuditRequest.of(values()))


def _correct(job: commands.Job, offered: dict[str, Any]) -> None:
    """Show the form of a failed audit again, with what the failure offers filled in."""
    fill(job.form | offered)
    commands.forget(folder(), job)
    st.session_state["audit_job"] = None


def _forget(job: commands.Job) -> None:
    def forget() -> None:
        commands.forget(folder(), job)
        st.session_state["audit_job"] = None

    st.button(
        "Remove from list",
        key=f"forget-{job.name}",
        type="tertiary",
        on_click=forget,
        help="Removes this card; the database is kept.",
    )
