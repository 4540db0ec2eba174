import pandas as pd
import streamlit as st

from app_components import session
from app_components.background_command import Background
from app_components.clicks import attempt, tell
from app_components.filter_line import filter_chip
from app_components.navigation import keep
from app_components.table import Column, remembered, show_table
from saliency_core.analysis.similar_explanations import nearest_explanations
from saliency_core.errors import UserError, cut
from saliency_core.quality.duplicates import duplicate_groups
from saliency_core.quality.findings import issue_rows, kept_data_quality
from saliency_core.quality.issue_words import words_for_and_against
from saliency_core.server.commands import as_options
from saliency_core.shortcuts.presentation import shortcut_doubt
from saliency_core.store import Run
from saliency_core.store.query.annotations import Edit
from saliency_core.store.query.editing import joined
from saliency_core.store.query.terms import quote
from saliency_core.store.write.annotations import annotate

ROWS = 20
SHOWN = 160
"""Characters of a text in a table."""
DROP = "drop"
"""Tag of examples that a cleaned dataset leaves out."""
SAID = "data-said"
MARKS = {"high": "● high", "medium": "◐ medium", "low": "○ low", "ok": "ok"}

run = session.opened()
filter_chip(run)
layer = session.reading_layer(run)
background = Background(run, "data-quality")


def start():
    """Let the user check the dataset, against training data if there are any."""
    again = found is not None
    with st.expander("Check the data again") if again else st.container():
        if not again:
            st.info(
                "This dataset has not been checked yet for labels that may be wrong, "
                "duplicates, damaged texts and columns that give the label away. The checks do "
                "not run the model."
            )
        st.text_input(
            "Training data (optional)",
            key="data_train",
            placeholder="a file, a folder or a Hugging Face name",
            help="Shows which of these texts the model was trained on, and how the two sets "
            "differ.",
        )
        if st.button("Check the data", type="secondary" if again else "primary"):
            train = st.session_state["data_train"].strip()
            background.start(*as_options({"train": train}))


def findings():
    rows = pd.DataFrame(
        [
            {
                "severity": MARKS[finding.severity],
                "finding": finding.message,
                "examples": finding.count if finding.severity != "ok" else None,
                "filter": finding.filter if finding.severity != "ok" else "",
            }
            for finding in found.findings
        ]
    )
    rows["examples"] = rows["examples"].astype(float)

    def open_filter(place: int):
        where = rows["filter"].iloc[place]
        if where:
            session.go_to("errors", where=where)

    st.caption("Findings, worst first. Click a row that names a filter to open its examples.")
    show_table(
        rows,
        f"data-findings-{session.here(run)}",
        "Findings of the dataset checks",
        columns={"examples": Column(format="{:,.0f}")},
        on_choose=open_filter,
        ticks=False,
        height=620,
    )
    session.download(rows, "data-findings")


def labels():
    facts = found.facts["label_issues"]
    st.header("Labels that may be wrong")
    if facts is None:
        st.caption("Labels were not checked: this check needs exactly one label per example.")
        return
    st.caption(
        f"Confident learning estimates the number of wrong labels at {facts['estimated']:,} of "
        f"{facts['judged']:,} (95% interval {facts['low']:,.0f} to {facts['high']:,.0f}). Here are "
        "the candidates, the least plausible label first. Some may be right, because the model can "
        "be confidently wrong: check each label before you change it."
    )
    if facts["trained_on"]:
        st.warning(session.escape(facts["trained_on"]))
    part = run.filter("label_issue")
    total = session.counted(part)
    if not total:
        st.info("No label looks wrong.")
        return
    if doubt := session.ask(shortcut_doubt, part):
        st.info(session.escape(doubt))
    tell(SAID)
    pages = max(1, -(-total // ROWS))
    page = st.pagination(pages, key=keep("issues_page", 1, range(1, pages + 1)))
    rows = session.ask(issue_rows, part, limit=ROWS, offset=(page - 1) * ROWS)
    words = session.ask(words_for_and_against, run, positions=rows["example"].tolist(), layer=layer)
    shown = rows[["gold", "likely", "quality", "text"]].assign(
        text=[cut(text, SHOWN) for text in rows["text"]],
        for_it=[word["predicted"] for word in words],
        for_label=[word["label"] for word in words],
        decided=[*map(decided, run.annotations_at(rows["example"].tolist()))],
    )
    place, choose = remembered(f"issue-{session.here(run)}", rows["id"])
    show_table(
        shown,
        f"issues-{session.here(run)}-{page}-{run.store.version()}",
        "Examples whose label may be wrong",
        columns={
            "gold": Column("label"),
            "likely": Column("suggested label"),
            "quality": Column(
                "plausibility",
                help="Probability that the model gives to the label.",
                format="{:.1%}",
            ),
            "for_it": Column(
                "words supporting the prediction", f"At layer {layer}, against the label."
            ),
            "for_label": Column(
                "words supporting the label", f"At layer {layer}, against the prediction."
            ),
            "decided": Column("decision"),
        },
        on_choose=choose,
        chosen=place,
    )
    session.download(
        lambda: issue_rows(part, limit=total), "label-issues", f"Download all {total:,} (CSV)"
    )
    if place is None:
        st.caption("Click a row to review it.")
    else:
        issue(rows.iloc[place], words[place])
    mixed_up(pd.DataFrame(facts["noise"]))


def decided(said: dict) -> str:
    """Return what was decided on an example, in a word or two."""
    if said["decision"] == "right":
        return "right"
    return f"now {said['label']}" if said["label"] else ""


def issue(row: pd.Series, words: dict[str, str]):
    """Show everything of one label that may be wrong, and let the user decide."""
    with st.container(border=True):
        st.text(row["text"] if row["pair"] is None else f"{row['text']}\n{row['pair']}")
        gold, likely = row["gold"], row["likely"]
        st.markdown(
            f"Labelled **{session.escape(gold)}**, predicted "
            f"**{session.escape(row['predicted'])}** with {row['confidence']:.1%} confidence. "
            f"Words for the prediction: {session.escape(words['predicted'] or 'no word')}. "
            f"Words for the label: {session.escape(words['label'] or 'no word')}."
        )
        neighbours(row)
        with st.container(horizontal=True):
            st.button(
                f"Relabel as {session.escape(likely)}",
                type="primary",
                on_click=attempt,
                args=(SAID, lambda: decide(row["id"], Edit("label", likely))),
            )
            st.button(
                f"{session.escape(gold)} is right",
                on_click=attempt,
                args=(SAID, lambda: decide(row["id"], Edit("right"))),
            )
            session.link("Open the example →", "example", id=row["id"], where="label_issue")


def neighbours(row: pd.Series):
    """Say which labels the examples with similar explanations have."""
    try:
        near = session.ask(
            nearest_explanations, run.filter(), position=int(row["example"]), layer=layer
        )
    except UserError:
        return
    if near.empty:
        return
    labels = session.ask(Run.examples_at, run, positions=near["example"].tolist())["gold"]
    counts = labels.fillna("no label").value_counts()
    said = ", ".join(f"{session.escape(name)} {count}" for name, count in counts.items())
    st.caption(f"Labels of the {len(near)} examples with the most similar explanations: {said}.")


def decide(id: str, edit: Edit) -> str:
    annotate(run.store.path, run.number, [edit], ids=[id])
    if edit.what == "label":
        return f"Example {session.escape(id)} is now labelled {session.escape(edit.value)}."
    return f"The label of example {session.escape(id)} is marked as right."


def mixed_up(noise: pd.DataFrame):
    if noise.empty:
        return
    st.caption("Labels that are often mixed up. Click a row to open its examples.")
    noise = noise.head(30)

    def open_pair(place: int):
        pair = noise.iloc[place]
        terms = (f"gold:{quote(pair['gold'])}", f"predicted:{quote(pair['likely'])}")
        session.go_to("errors", where=joined("label_issue", *terms))

    show_table(
        noise,
        f"noise-{session.here(run)}",
        "Pairs of labels that are mixed up",
        columns={
            "gold": Column("label"),
            "likely": Column("suggested label"),
            "rate": Column(help="Share of the label's examples.", format="{:.1%}"),
        },
        on_choose=open_pair,
        ticks=False,
        height=260,
    )


def duplicates():
    facts = found.facts["duplicates"]
    st.header("Duplicates")
    groups = session.ask(duplicate_groups, run, limit=100)
    if groups.empty:
        st.caption("No two texts are identical or nearly identical.")
        return
    st.caption(
        f"{facts['examples']:,} examples in {facts['in_groups']:,} groups; those with more than "
        "one label come first. Choose a group to see its texts."
    )
    shown = groups.assign(
        labels=groups["labels"].map(", ".join), text=[cut(text, SHOWN) for text in groups["text"]]
    )
    shown["labels"] = shown["labels"].where(~groups["conflict"], "≠ " + shown["labels"])
    place, choose = remembered(f"group-{session.here(run)}", groups["group"])
    show_table(
        shown[["kind", "size", "labels", "text"]],
        f"groups-{session.here(run)}",
        "Groups of duplicates",
        on_choose=choose,
        chosen=place,
        columns={"labels": Column(help="≠: more than one.")},
    )
    session.download(groups, "duplicates")
    if place is not None:
        group(groups.iloc[place])


def group(row: pd.Series):
    """Show the members of a group, and let the user keep one of them."""
    places = [run.position_of(id) for id in row["ids"][:ROWS]]
    members = session.ask(Run.examples_at, run, positions=places)
    shown = members[["id", "text", "gold", "predicted"]].assign(
        decision=[
            DROP if DROP in said["tags"] else ""
            for said in run.annotations_at(members["example"].tolist())
        ]
    )
    show_table(
        shown,
        f"members-{session.here(run)}-{row['group']}-{run.store.version()}",
        "Texts of the group",
        columns={"gold": Column("label")},
        on_choose=lambda place: session.go_to("example", id=members["id"].iloc[place]),
        ticks=False,
    )
    tell(f"{SAID}-group")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kept = st.selectbox("Keep", row["ids"][:ROWS], key=f"keep-{row['group']}", width=200)
        others = [id for id in row["ids"] if id != kept]
        st.button(
            f"Drop the other {len(others)}",
            on_click=attempt,
            args=(f"{SAID}-group", lambda: drop(kept, others)),
            help=f"Tags them “{DROP}”; `export --dataset --drop-duplicates` leaves them out.",
        )


def drop(kept: str, others: list[str]) -> str:
    annotate(run.store.path, run.number, [Edit("untag", DROP)], ids=[kept])
    annotate(run.store.path, run.number, [Edit("tag", DROP)], ids=others)
    return f"Example {session.escape(kept)} is kept; the other {len(others)} are tagged “{DROP}”."


def training():
    facts = found.facts["train"]
    st.header("Training data")
    if not facts:
        st.caption(
            "Name the training data under “Check the data again” to see which texts are in both, "
            "and how the two sets differ."
        )
        return
    st.caption(session.escape(f"{facts['source']}: {facts['rows']:,} rows."))
    shown = {
        "Also in training data": (
            f"{facts['leaked']:,}",
            f"{facts['exact']:,} word for word, the rest nearly so.",
        ),
        "Accuracy on all texts": (_share(facts["accuracy"]), "Of all labelled examples."),
        "Accuracy without these": (
            _share(facts["accuracy_without"]),
            "Of labelled examples that are not in the training data.",
        ),
        "Domain AUC": (
            "–" if facts["domain_auc"] is None else f"{facts['domain_auc']:.2f}",
            "How well words tell the two sets apart; 0.5 is chance.",
        ),
    }
    with st.grid(len(shown), min_column_width=130):
        for name, (value, meaning) in shown.items():
            st.metric(name, value, border=True, help=meaning)
    left, right = st.columns(2)
    with left:
        words = pd.DataFrame(facts["words"])
        if words.empty:
            st.caption(
                "No word's frequency differs between the two sets by more than chance would "
                "explain."
            )
        else:
            st.caption(
                "Words whose share of texts differs most; where the log-odds are above 0, the "
                "word is more frequent in this dataset."
            )
            show_table(
                words,
                f"drift-{session.here(run)}",
                "Words that differ between the dataset and its training data",
                columns={
                    "audited": Column("here", "Share of texts.", "{:.1%}"),
                    "train": Column("training", "Share of texts.", "{:.1%}"),
                    "q": Column(
                        format="{:.1g}",
                        help="p-value corrected for many tests (Benjamini-Hochberg).",
                    ),
                },
                height=300,
            )
    with right:
        labels = pd.DataFrame(facts["labels"])
        if len(labels):
            show_table(
                labels,
                f"label-shift-{session.here(run)}",
                "Shares of labels here and in training data",
                columns={
                    "audited": Column("here", format="{:.1%}"),
                    "train": Column("training", format="{:.1%}"),
                },
                height=300,
            )
        telling = ", ".join(row["word"] for row in facts["telling"][:10])
        if telling and (facts["domain_auc_low"] or 0) > 0.5:
            st.caption(session.escape(f"Words that give the set away: {telling}."))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def classes():
    st.header("Classes")
    table = pd.DataFrame(found.facts["classes"])
    total = max(int(table["examples"].sum()), 1)

    def open_class(place: int):
        session.go_to("errors", where=f"gold:{quote(table['label'].iloc[place])}")

    show_table(
        table.assign(share=table["examples"] / total),
        f"class-balance-{session.here(run)}",
        "Examples of each label",
        columns={"share": Column(format="{:.1%}")},
        on_choose=open_class,
        ticks=False,
        height=300,
    )


found = session.ask(kept_data_quality, run)
if background.follow("Checking the data") != "running":
    start()
if found is not None:
    findings()
    labels()
    duplicates()
    training()
    classes()
