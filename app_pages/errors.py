from functools import partial

import streamlit as st

from app_components import session
from app_components.bulk_review import bulk_actions, corrections, history
from app_components.example_list import painted_rows
from app_components.filter_line import filter_line
from app_components.navigation import end_page, entitle, keep
from app_components.review import marks_of, progress_sentence
from app_components.sorting import ROWS, SORTS, in_order, keep_sort
from saliency_core.analysis.slice_comparison import settled_prediction
from saliency_core.output.highlighting import painted_row

run = session.opened()
first_page = partial(st.session_state.update, page=1)
where = filter_line(run, "wrong", first_page)
entitle(where)
total, everything = session.counted(run.filter(where)), session.counted(run.filter(""))
with st.container(key="beside-count"):
    left, middle, right = st.columns([2, 1, 1], vertical_alignment="bottom")
left.markdown(
    f"**{total:,}** of {everything:,} examples ({total / everything:.1%})"
    f" · {progress_sentence(run.filter(where))}",
    help="How many examples match the filter, and their share of the run.",
)
chosen = middle.selectbox(
    "Sort by",
    list(SORTS),
    key=keep_sort(),
    on_change=first_page,
    help="Closest call first: the predicted class has the smallest lead over the next one. "
    "Coherence is how similar an example's salient words are to those of examples with the same "
    "prediction.",
)
if not total:
    st.info("No example matches this filter. Remove a term, or look at all examples.")
    with st.container(horizontal=True):
        st.button("Show all examples", on_click=first_page, kwargs={"where": ""})
        history(run)
    end_page()
with right:
    layer = session.layer_slider(run)
pages = max(1, -(-total // ROWS))
with st.container(horizontal=True, vertical_alignment="center"):
    st.caption(
        f"Highlighted at layer {layer}: orange words support the predicted class; blue, underlined "
        "words count against it.",
        help="The darkest shade marks the strongest word in the row. Click a row to open it. By "
        "keyboard: J and K go to the next and previous row, Enter opens it, X ticks it.",
        width="stretch",
    )
    history(run)
    page = st.pagination(pages, key=keep("page", 1, range(1, pages + 1)), width=318)
order = in_order(run.filter(where))
places = order[(page - 1) * ROWS : page * ROWS].tolist()
frame, found = session.with_words(run, places, layer)
# What the filter asks for need not stand in every row.
is_said = session.ask(settled_prediction, run.filter(where)) == "wrong"
rows = [
    painted_row(example, words, about=session.top_words_line(words))
    | {"marks": marks_of(held, example["gold"])}
    | ({"wrong": False} if is_said else {})
    for (example, words), held in zip(found, run.annotations_at(places), strict=True)
]
painted_rows(
    rows,
    f"rows-{run.number}-{page}-{chosen}-{where}",
    session.open_example(where),
    bulk=bulk_actions(run.filter(where), total),
)
corrections(run.filter(where))
session.download(
    frame.drop(columns="example").assign(words=[session.top_words(words) for _, words in found]),
    "examples",
    "Download rows (CSV)",
)
