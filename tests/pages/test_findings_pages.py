"""Suspects, Slices and What if: what they show, keep and ask for, on filled and empty files."""

import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app_components import model_gate
from saliency_core.analysis.error_slices import discover, keep_discovered
from saliency_core.analysis.kept_suspects import keep_suspects, kept_suspects
from saliency_core.analysis.slice_comparison import without_settling
from saliency_core.pipeline.run_audit import audit
from saliency_core.server import commands
from saliency_core.shortcuts.ablation_effects import with_effects
from saliency_core.shortcuts.presentation import HONEST, filtered, grouped, with_judgements
from saliency_core.shortcuts.suspects import suspects
from saliency_core.stats import wilson
from saliency_core.store import open_store, save_slice
from saliency_core.store.query.wording import in_words
from tests.support.components import painted_rows_of, tables_of
from tests.support.paths import DASHBOARD
from tests.support.small_audit import options, write_csv
from tests.support.tiny_bert import save_tiny_bert
from tests.support.word_model import BIASED_TO, LABELS, SHORTCUT, WordModel, audited_store, examples

PAGES = {"suspects": "Suspects", "slices": "Slices", "what_if": "What if"}
os.environ["STREAMLIT_CLIENT_SHOW_ERROR_DETAILS"] = "full"


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """An audit in which nobody has looked for anything."""
    path = tmp_path_factory.mktemp("findings") / "cache" / "a.sqlite"
    path.parent.mkdir()
    rates = {BIASED_TO: 0.5, LABELS[0]: 0.1, LABELS[2]: 0.1}
    audited_store(path, WordModel(4.0), examples(400, rates))
    return path


@pytest.fixture(scope="module")
def looked(audited):
    """The same with suspects and slices found."""
    path = audited.with_name("b.sqlite")
    shutil.copy(audited, path)
    store = open_store(path)
    table, control = suspects(store.run(), null_repeats=2)
    table = with_effects(store.run(), table, WordModel(4.0), examples=40, candidates=8)
    keep_suspects(open_store(path).run(1), table, control | {"layer": 2})
    keep_discovered(open_store(path).run(1), discover(store.run())[0])
    save_slice(path, "by phone", "meta.channel:voicemail", "worse?")
    return path


@pytest.fixture
def database(looked, tmp_path):
    """A copy to write into."""
    return Path(shutil.copy(looked, tmp_path / "a.sqlite"))


@pytest.fixture(scope="module")
def with_a_model(tmp_path_factory):
    """The audit of a real, tiny model; where the model is."""
    folder = tmp_path_factory.mktemp("what-if")
    name, lm_head = save_tiny_bert(folder)
    audit(name, write_csv(folder / "a.csv", 30), db=folder / "a.sqlite", options=options(lm_head))
    return folder / "a.sqlite", Path(name)


def opened(page, database, monkeypatch, **query):
    monkeypatch.setenv("SALIENCY_DB", str(database))
    app = AppTest.from_file(DASHBOARD, default_timeout=60).run()
    app.switch_page(f"app_pages/{page}.py")
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def texts(app):
    return " ".join(
        element.value
        for kind in ("markdown", "caption", "header", "subheader")
        for element in app.get(kind)
    ).replace("\\", "")


def button(app, label):
    return next(one for one in app.button if one.label.startswith(label))


@pytest.mark.parametrize("page", PAGES)
def test_page_on_a_filled_file(page, looked, monkeypatch):
    app = opened(page, looked, monkeypatch)
    assert app.title[0].value == PAGES[page]
    assert not app.error


@pytest.mark.parametrize("page", PAGES)
def test_page_without_a_file_says_how_to_make_one(page, tmp_path, monkeypatch):
    app = opened(page, tmp_path / "none.sqlite", monkeypatch)
    assert app.header[0].value == "No audit yet"


def test_a_page_never_starts_a_search_by_itself(audited, monkeypatch):
    started = []
    monkeypatch.setattr(commands, "start", lambda *given, **more: started.append((given, more)))
    app = opened("suspects", audited, monkeypatch)
    assert "has not been searched for suspects" in app.info[0].value
    assert not started
    app.text_input[1].set_value("kindly dull")
    button(app, "Find shortcuts").click().run()
    (_, name, arguments, path), more = started[0]
    assert name == "a-run-1" and path == audited and more == {"command": ("suspects",)}
    assert arguments == (f"--db={audited}", "--run=1", "--word=kindly", "--word=dull")


def test_commands_on_pages_begin_with_what_the_program_was_called_by(looked, monkeypatch):
    monkeypatch.setenv("SALIENCY_PROGRAM", "saliency")
    app = opened("suspects", looked, monkeypatch)
    assert "saliency checks run MODEL checks.jsonl" in [one.value for one in app.code]
    assert not any("hub name" in one.label + one.help for one in app.text_input)
    (code,) = opened("compare", looked, monkeypatch).code
    assert code.value.startswith("saliency audit OTHER_MODEL ")


def test_the_strongest_suspect_stands_first_with_its_evidence(looked, monkeypatch):
    app = opened("suspects", looked, monkeypatch)
    shown = texts(app)
    assert HONEST in shown and "Sanity check" in shown
    row = kept_suspects(open_store(looked).run())[0].iloc[0]
    assert (row["feature"], row["class"]) == (SHORTCUT, BIASED_TO)
    assert f"“{SHORTCUT}” → {BIASED_TO}: {row['assessment']}" in shown
    assert (
        f"{row['k']} of the {row['n']} labelled texts with it have the label {BIASED_TO}" in shown
    )
    these = "these " if row["effect_n"] == row["predictions"] else ""
    assert (
        f"deleted from {these}{row['effect_n']:.0f} texts, {row['flip_rate']:.0%} of the" in shown
    )
    store = open_store(looked)
    wrong = store.run().filter(f"wrong predicted:{BIASED_TO} word:{SHORTCUT}").count()
    named = f"Wrong {BIASED_TO} predictions"
    assert wrong and button(app, named).label == f"{named} ({wrong}) →"


def test_the_address_names_the_suspect_and_the_filters(looked, monkeypatch):
    app = opened("suspects", looked, monkeypatch, suspect="dull", of=LABELS[0])
    assert f"“dull” → {LABELS[0]}" in texts(app)
    app = opened("suspects", looked, monkeypatch, suspect_kind="metadata", suspect_text="VOICE")
    assert set(tables_of(app)[0]["feature"]) == {"channel = voicemail"}
    app = opened("suspects", looked, monkeypatch, suspect_text="no such word")
    assert "No suspect matches" in app.info[0].value


def test_the_analysts_verdict_is_kept_and_shown_again(database, monkeypatch):
    app = opened("suspects", database, monkeypatch)
    assert "**Your verdict:** not judged" in texts(app)
    app.button_group[0].set_value("genuine").run()
    assert open_store(database).run(1).verdicts()["verdict"].tolist() == ["genuine"]
    button(app, "Undo").click().run()
    assert open_store(database).run(1).verdicts().empty
    note = next(one for one in app.text_input if one.label == "Note")
    note.set_value("says nothing of it").run()
    assert open_store(database).run(1).verdicts().empty, "a note waits for its verdict"
    app.button_group[0].set_value("spurious").run()
    assert not app.exception
    assert any("spurious, “says nothing of it”" in one.value.replace("\\", "") for one in app.toast)
    kept = open_store(database).run(1).verdicts()
    assert kept[["word", "class", "verdict", "note"]].values.tolist() == [
        [SHORTCUT, BIASED_TO, "spurious", "says nothing of it"]
    ]
    assert tables_of(app)[0]["judgement"].iloc[0] == "spurious"
    assert app.multiselect[0].value == [SHORTCUT], "a word judged spurious is offered for debiasing"
    app = opened("suspects", database, monkeypatch, suspect_judgement="spurious")
    assert tables_of(app)[0]["feature"].tolist() == [SHORTCUT]


def test_a_word_is_hidden_only_by_clicks_and_accuracy_is_that_of_the_edited_texts(
    looked, monkeypatch
):
    loads = []
    monkeypatch.setattr(model_gate, "loaded", lambda *given: loads.append(given) or WordModel(4.0))
    app = opened("suspects", looked, monkeypatch)
    assert not loads
    button(app, "Load the model").click().run()
    assert loads and not app.metric
    button(app, "Hide it").click().run()
    assert not app.exception
    store, reader = open_store(looked), WordModel(4.0)
    holding = store.run().filter(f"word:{SHORTCUT}").examples()
    without = [re.sub(SHORTCUT, "", text, flags=re.IGNORECASE) for text in holding["text"]]
    hidden = [LABELS[reader.scores(text).argmax()] for text in without]
    flips = int((pd.Series(hidden) != holding["predicted"]).sum())
    right = int((pd.Series(hidden) == holding["gold"]).sum())
    numbers = {metric.label: metric.value for metric in app.metric}
    assert numbers["Texts edited"] == f"{len(holding)}"
    assert numbers["Predictions that change"].startswith(f"{flips} (")
    assert numbers["Accuracy on these texts"] == f"{right / len(holding):.1%}"
    others = store.run().filter(f"right -word:{SHORTCUT}").count()
    assert (
        numbers["Accuracy on the whole slice"]
        == f"{(right + others) / store.run().filter().count():.1%}"
    )


def test_discovered_and_saved_slices_are_shown_with_their_metrics(database, monkeypatch):
    app = opened("slices", database, monkeypatch)
    found, saved = tables_of(app)[0], tables_of(app)[1]
    assert found["where"].iloc[0] == "meta.channel:voicemail"
    store = open_store(database)
    assert saved["name"].tolist() == ["by phone"]
    assert saved["examples"].iloc[0] == store.run().filter("meta.channel:voicemail").count()
    wrong, right = (
        store.run().filter(f"{x} meta.channel:voicemail").count() for x in ("wrong", "right")
    )
    assert saved["error_rate"].iloc[0] == pytest.approx(wrong / (wrong + right))
    low, high = wilson(wrong, wrong + right)
    assert saved["interval"].iloc[0] == f"{low:.1%} to {high:.1%}"
    assert "%" in saved["interval"].iloc[0]
    assert sum("Choose a row. The buttons below" in one.value for one in app.caption) == 2


def test_a_discovered_slice_is_saved_with_one_click(database, monkeypatch):
    app = opened("slices", database, monkeypatch)
    where = tables_of(app)[0]["where"].iloc[1]
    app.session_state["slice-discovered"] = where
    app.run()
    button(app, "Save this slice").click().run()
    assert not app.exception
    store = open_store(database)
    (name,) = set(store.slices()["name"]) - {"by phone"}
    assert store.slices().set_index("name").at[name, "where"] == where
    assert name == in_words(where)
    assert button(app, "Saved as").disabled


def test_a_slice_of_wrong_predictions_has_no_error_rate(database, monkeypatch):
    save_slice(database, "mistakes", "wrong meta.channel:voicemail", "")
    app = opened("slices", database, monkeypatch)
    saved = tables_of(app)[1].set_index("name")
    assert saved.loc["mistakes", "error_rate"] != saved.loc["mistakes", "error_rate"]
    assert "asks for wrong ones" in saved.loc["mistakes", "problem"]
    assert without_settling("wrong meta.channel:voicemail -right") == "meta.channel:voicemail"
    assert without_settling("wrong OR word:a") == "wrong OR word:a"


def test_a_slice_is_saved_refused_and_deleted(database, monkeypatch):
    app = opened("slices", database, monkeypatch, where="wrong")
    fields = {one.label: one for one in app.text_input}
    fields["Name"].set_value("odd")
    fields["Filter"].set_value("wrogn")
    next(one for one in app.button if one.label == "Save").click().run()
    assert "wrong" in app.error[0].value
    fields = {one.label: one for one in app.text_input}
    fields["Filter"].set_value("wrong confidence>0.5")
    next(one for one in app.button if one.label == "Save").click().run()
    assert set(open_store(database).slices()["name"]) == {"by phone", "odd"}
    app.session_state["slice-saved"] = "wrong confidence>0.5"
    app.run()
    saved = tables_of(app)[1]
    assert saved["name"].iloc[saved.attrs["chosen"]] == "odd"
    button(app, "Delete slice").click().run()
    assert set(open_store(database).slices()["name"]) == {"by phone"}


def test_two_slices_side_by_side(looked, monkeypatch):
    both = ("meta.channel:voicemail", "-meta.channel:voicemail")
    app = opened("slices", looked, monkeypatch, compare_a=both[0], compare_b=both[1])
    store = open_store(looked)
    rates = [metric.value for metric in app.metric if metric.label == "Error rate"]
    for rate, where in zip(rates, both, strict=True):
        wrong, right = (
            store.run().filter(f"wrong {where}").count(),
            store.run().filter(f"right {where}").count(),
        )
        assert rate == f"{wrong / (wrong + right):.1%}"
    assert "The two rates differ (p " in texts(app)
    app = opened("slices", looked, monkeypatch, compare_a=both[0])
    assert f"{store.run().filter(both[0]).count()} texts are in both, so the two rates" in texts(
        app
    )
    app = opened("slices", looked, monkeypatch, compare_a="meta.no:1")
    assert app.error


def test_a_text_is_edited_and_explained_only_once_the_model_is_asked_for(with_a_model, monkeypatch):
    database, _ = with_a_model
    app = opened("what_if", database, monkeypatch, what_id="3", edited="nice nice good")
    assert not app.metric and button(app, "Load the model")
    button(app, "Load the model").click().run()
    assert not app.exception and not app.error
    before = open_store(database).run().example("3")
    numbers = {metric.label: metric for metric in app.metric}
    assert numbers["Original prediction"].value == before["predicted"].replace("_", "\\_")
    assert numbers["Original prediction"].delta == f"probability {before['confidence']:.3f}"
    aligned = tables_of(app)[0]
    assert sorted(word for word in aligned["after"] if word) == ["good", "nice", "nice"]
    assert len(app.get("vega_lite_chart")) == 3


def test_a_model_that_has_moved_is_asked_for(with_a_model, tmp_path, monkeypatch):
    database, folder = with_a_model
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    try:
        app = opened("what_if", database, monkeypatch)
        button(app, "Load the model").click().run()
        assert f"no longer at {folder}" in app.warning[0].value.replace("\\", "")
        next(one for one in app.text_input if one.label == "Folder of the model").set_value(
            str(moved)
        )
        button(app, "Load it from there").click().run()
        assert not app.exception and app.metric and not app.warning
    finally:
        moved.rename(folder)


def test_a_word_edited_in_a_slice_lists_the_answers_that_flip(looked, monkeypatch):
    monkeypatch.setattr(model_gate, "loaded", lambda *given: WordModel(4.0))
    query = {"what_view": "a word in a slice", "what_word": SHORTCUT, "where": "wrong"}
    app = opened("what_if", looked, monkeypatch, **query)
    button(app, "Load the model").click().run()
    wrong = open_store(looked).run().filter(f"wrong word:{SHORTCUT}").examples()
    total = open_store(looked).run().filter("wrong").count()
    assert f"**{len(wrong):,} of {total:,}** texts in this filter contain “{SHORTCUT}”" in texts(
        app
    )
    button(app, "Run the model").click().run()
    assert not app.exception
    flipped = painted_rows_of(app)
    assert len(flipped) and {row["id"] for row in flipped} <= set(wrong["id"])
    assert all(not row["about"].startswith(f"then {row['predicted']},") for row in flipped)


def test_filters_and_sorting_are_those_of_a_plain_table(looked):
    table = with_judgements(
        kept_suspects(open_store(looked).run())[0],
        pd.DataFrame(
            [("KINDLY", BIASED_TO, "unsure", "")], columns=["word", "class", "verdict", "note"]
        ).assign(word=SHORTCUT),
    )
    words = filtered(table, kind="word", class_name=BIASED_TO, sort="association")
    expected = table[(table["kind"] == "word") & (table["class"] == BIASED_TO)]
    assert words["z"].tolist() == sorted(expected["z"], reverse=True)
    assert filtered(table, judgement="unsure")["feature"].tolist() == [SHORTCUT]
    assert filtered(table, text=SHORTCUT.upper())["feature"].str.contains(SHORTCUT).all()
    assert filtered(table)["feature"].tolist() == grouped(table)["feature"].tolist()
