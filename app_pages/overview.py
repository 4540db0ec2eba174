import streamlit as st

from app_pages import context
from saliency_core import charts
from saliency_core.calibration import expected_calibration_error
from saliency_core.findings import findings

store, run, facts = context.opened()
st.title("Overview")
model, dataset, settings = facts["model"], facts["dataset"], facts["settings"]
st.caption(
    context.escape(
        f"{model['name']} ({model['architecture']}, {model['layers']} layers) on "
        f"{dataset['source']}; head {model['lm_head']}; target {settings['target']}, "
        f"{settings['steps']} steps; {facts['created']}"
    )
)
examples, wrong = store.count(run=run), store.count("wrong", run=run)
right = store.count("right", run=run)
failed, truncated = store.count("failed", run=run), store.count("truncated", run=run)
with st.container(horizontal=True):
    st.metric("Examples", f"{examples:,}", border=True)
    judged = right + wrong
    accuracy = f"{right / judged:.1%}" if judged else "no labels"
    st.metric("Accuracy", accuracy, border=True, help="Right answers among labelled examples.")
    st.metric("Misclassified", f"{wrong:,}", border=True)
    st.metric("Truncated", f"{truncated:,}", border=True, help="Texts the model read in part.")
    st.metric("Failed", f"{failed:,}", border=True, help="Empty texts or numbers out of range.")

found = findings(store, run)
if found:
    st.subheader("Look here first")
for number, finding in enumerate(found):
    sentence = context.escape(finding.sentence)
    if st.button(f"{sentence} **→**", key=f"finding-{number}", type="tertiary"):
        context.go_to("errors", where=finding.where)

left, middle = st.columns(2)
with left:
    st.subheader("Where it confuses classes")
    if judged:
        st.caption("Click a cell to see its examples.")
        event = st.altair_chart(
            charts.confusion(store.confusion(run=run), facts["label_names"]),
            key="confusion",
            on_select="rerun",
            alt="Confusion matrix: gold label by predicted label",
        )
        cells = event["selection"].get("cell", []) if event else []
        if cells:
            where = " ".join(
                context.quote(term, str(cells[0][term])) for term in ("gold", "predicted")
            )
            st.session_state.pop("confusion", None)
            context.go_to("errors", where=where)
    else:
        st.info("The dataset has no labels, so right and wrong are unknown.")
with middle:
    st.subheader("How sure it is")
    if judged:
        values, is_right = store.confidence(run=run)
        st.altair_chart(
            charts.confidence(values, is_right), alt="Histogram of confidence, right and wrong"
        )
        st.caption(
            f"Expected calibration error {expected_calibration_error(values, is_right):.3f}: the "
            "mean gap between how sure the model is and how often it is right; 0 is best."
        )
    st.subheader("Coherence by layer")
    st.altair_chart(
        charts.by_layer(store.layers(run=run), "coherence", "Coherence", facts["recommended"]),
        alt="Semantic coherence by layer with 95 % interval",
    )
    if facts["recommended"] is not None:
        st.caption(f"Recommended layer: {facts['recommended']} (orange).")
if judged:
    st.subheader("By class")
    st.dataframe(
        store.class_metrics(run=run),
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(format="%.3f")
            for name in ("precision", "recall", "f1")
        },
    )
