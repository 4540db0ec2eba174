from pathlib import Path

import pandas as pd
import streamlit as st

from app_components import session as context
from app_components.table import show_table
from saliency_core.data.dataset import preview
from saliency_core.errors import UserError
from saliency_core.paths import default_database
from saliency_core.server import commands as jobs

SHOWN_ROWS = 10
NONE = "none"

cache = default_database().parent
jobs_folder, uploads = cache / "jobs", cache / "uploads"


@st.fragment(run_every=2)
def running():
    """Show what was started; progress is read from the database the audit writes."""
    for job in jobs.jobs(jobs_folder):
        with st.container(border=True):
            show(job)


def show(job: jobs.Job):
    state, step = jobs.state(job), jobs.step(job)
    st.markdown(f"**{context.escape(job.name)}**: {state}")
    if step is not None:
        st.progress(step.part, f"{context.escape(step.stage)}, {context.escape(step.sentence())}")
    buttons = st.container(horizontal=True)
    if state == "running":
        if buttons.button("Stop", key=f"stop-{job.name}"):
            jobs.stop(job)
            st.rerun(scope="fragment")
        return
    st.text(jobs.last_words(job))
    if state == "stopped" and buttons.button("Resume", key=f"resume-{job.name}"):
        jobs.start(jobs_folder, job.name, job.arguments, Path(job.database))
        st.rerun(scope="fragment")
    if state == "finished" and buttons.button("Open results", key=f"open-{job.name}"):
        context.go_to("overview", db=job.database)
    if buttons.button("Forget", key=f"forget-{job.name}", help="The database stays."):
        jobs.forget(jobs_folder, job)
        st.rerun(scope="fragment")


running()

st.subheader("1. The dataset")
uploaded = st.file_uploader(
    "Upload a file",
    type=["csv", "tsv", "txt", "jsonl", "json", "parquet", "arrow", "xlsx", "gz", "zip"],
    help="It is copied into the cache folder of this machine and goes nowhere else.",
)
typed = st.text_input(
    "or a path or hub name", key="new_source", help="A file or folder on this machine."
)
split = st.text_input("Split", key="new_split", help="Only for datasets that have splits.")
header = st.toggle("The first line of a CSV names the columns", value=True)
source = jobs.absolute(typed.strip())
if uploaded is not None:
    source = str(jobs.keep_upload(uploads, uploaded.name, uploaded.getvalue()))
if not source:
    st.info("Upload a file or name one to go on.")
    st.stop()
try:
    table = preview(source, split=split or None, header=header)
except UserError as error:
    st.error(context.escape(error))
    st.stop()
shown = [{name: str(row[name]) for name in row} for row in table.first[:SHOWN_ROWS]]
show_table(pd.DataFrame(shown, columns=table.names), "preview", "The first rows of the file")

st.subheader("2. Its columns")
names = table.names
guessed = {role: guess.column for role, guess in table.guesses.items() if guess.sure}
columns = st.columns(4)
chosen = {}
for place, (role, help_text) in enumerate(
    {
        "text": "What the model reads.",
        "label": "The gold label; without one, right and wrong stay unknown.",
        "pair": "The second text of a pair.",
        "id": "A stable id; else rows are numbered.",
    }.items()
):
    options = names if role == "text" else [NONE, *names]
    first = guessed.get(role, None if role == "text" else NONE)
    chosen[role] = columns[place].selectbox(
        role.capitalize(),
        options,
        index=None if first is None else options.index(first),
        key=f"new_{role}",
        help=help_text,
        placeholder="Choose a column",
    )
if chosen["text"] is None:
    st.info("Choose the column of the text to go on.")
    st.stop()

st.subheader("3. The model")
model = st.text_input(
    "Classifier", key="new_model", help="Folder or hub name of a sequence classifier."
).strip()
lm_head = st.text_input(
    "Pretrained language model it was fine-tuned from",
    key="new_lm_head",
    help="Decodes the layers back to words. Empty: the input embeddings take its place.",
).strip()
label_map = st.text_input(
    "Label map",
    key="new_label_map",
    help="Only where labels differ: 0=negative,1=positive. n/a= says that n/a is no label.",
).strip()
limit = st.number_input("Only the first examples (0 is all)", 0, step=100, key="new_limit")
name = st.text_input(
    "Name of the new database", jobs.safe_name(Path(source).name.split(".")[0]), key="new_name"
)
if not model:
    st.info("Name the model to go on.")
    st.stop()
database = cache / f"{jobs.safe_name(name)}.sqlite"
options = {f"{role}-column": value for role, value in chosen.items()}
options |= {"lm-head": lm_head, "split": split, "label-map": label_map, "no-header": not header}
options["limit"] = str(limit) if limit else None
arguments = jobs.audit_arguments(model, source, database, options)

if st.button("Start", type="primary"):
    jobs.start(jobs_folder, database.stem, arguments, database)
    st.rerun()
