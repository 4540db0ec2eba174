"""Suspects, Slices and What if in a real browser, on the demonstration and its planted flaws."""

import contextlib
import csv
import json
import re
import shutil
import sqlite3
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import expect

from saliency_core.analysis.error_slices import TABLE as DISCOVERED
from saliency_core.analysis.kept_suspects import HARMFUL, kept_suspects
from saliency_core.demo.messages import SHORTCUT
from saliency_core.quality.findings import issue_rows
from saliency_core.store import open_store
from tools.browser import (
    CHROMIUM,
    choose_row,
    rows_of,
    served,
    settle,
    visit,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
LONG = 180_000
"""Milliseconds that starting a process or loading a model may take on a busy machine."""


@pytest.fixture(scope="module")
def database(demo, tmp_path_factory):
    """The demonstration's audit, to write into."""
    return shutil.copy(demo.database, tmp_path_factory.mktemp("findings") / "demo.sqlite")


@pytest.fixture(scope="module")
def address(database):
    with served(database) as url:
        yield url


def query(page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def metric(page, label: str):
    return page.get_by_test_id("stMetric").filter(has_text=label)


def test_the_planted_flaw_is_found_in_three_clicks(page, address, database):
    store = open_store(database)
    table, _ = kept_suspects(store.run())
    places = table.index[(table["feature"] == SHORTCUT) & (table["assessment"] == HARMFUL)]
    place = int(places[0])
    assert place < 3, "the planted word is among the strongest suspects"
    row = table.loc[place]
    where = f"wrong predicted:{row['class']} word:{SHORTCUT}"
    visit(page, address)
    page.get_by_role("link", name="Suspects", exact=True).click()
    page.get_by_role("heading", name="Suspects").wait_for()
    settle(page)
    choose_row(page, "Suspects", place + 1)
    rows = rows_of(page, "Suspects")
    expect(rows.nth(place + 1)).to_have_attribute("aria-selected", "true")
    # The keys do what a click does, and the row keeps the focus.
    for keys, chosen in ((("ArrowUp", "Space"), place), (("ArrowDown", "Enter"), place + 1)):
        for key in keys:
            page.keyboard.press(key)
        expect(rows.nth(chosen)).to_have_attribute("aria-selected", "true")
        settle(page)
    choose_row(page, "Suspects", place, cell=3)
    heading = page.get_by_role("heading", name=f"“{SHORTCUT}” → {row['class']}: {HARMFUL}")
    expect(heading).to_be_visible()
    assert query(page)["suspect"] == SHORTCUT and query(page)["of"] == row["class"]
    assert page.get_by_text("is for you to judge").first.is_visible()
    page.get_by_role("button", name=re.compile(r"^Wrong .*predictions")).click()
    page.wait_for_url(re.compile("/errors\\?"))
    settle(page)
    assert query(page)["where"] == where
    total = store.run().filter(where).count()
    assert total and page.get_by_text(re.compile(rf"^{total} of 1,000 examples")).is_visible()


def test_a_point_of_the_scatter_opens_its_evidence(page, address, database):
    table, _ = kept_suspects(open_store(database).run())
    row = table[table["flip_rate"].notna() & (table["kind"] == "word")].iloc[-1]
    name = re.escape(row["feature"])
    visit(page, f"{address}/suspects")
    # A point is found by what a screen reader says of it.
    label = f"feature: {row['feature']}; class: {row['class']}"
    points = page.locator(f".mark-symbol path[aria-label*='{label}']")
    points.last.scroll_into_view_if_needed()
    points.last.click(force=True)
    settle(page)
    heading = page.get_by_role("heading", name=re.compile(f"“{name}” → {row['class']}"))
    expect(heading).to_be_visible()


def test_verdict_table_training_data_and_checks(page, address, database, demo):
    visit(page, f"{address}/suspects?suspect={SHORTCUT}&of=billing")
    ticked = page.locator("tr[aria-selected=true]")
    expect(ticked).to_contain_text(re.compile(f"✓{SHORTCUT}billing"))
    page.get_by_role("radio", name="spurious").click()
    expect(page.get_by_test_id("stToast")).to_contain_text("billing: spurious")
    settle(page)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Your verdict: not judged")).to_be_visible()
    page.get_by_role("radio", name="spurious").click()
    settle(page)
    page.get_by_role("textbox", name="Note").fill("a polite word")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Your verdict: spurious, “a polite word”")).to_be_visible()
    settle(page)
    verdicts = open_store(database).run().verdicts()
    kept = verdicts[["word", "class", "verdict", "note"]].values.tolist()
    assert kept == [[SHORTCUT, "billing", "spurious", "a polite word"]]
    visit(page, f"{address}/suspects?suspect_judgement=spurious")
    with page.expect_download() as found:
        page.get_by_role("button", name="Download suspects (CSV)").click()
    with open(found.value.path(), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["feature"], row["judgement"]) for row in rows] == [(SHORTCUT, "spurious")]
    with page.expect_download() as found:
        page.get_by_role("button", name="Download regression tests").click()
    checks = [json.loads(line) for line in found.value.path().read_text().splitlines()]
    assert checks and {check["word"] for check in checks} == {SHORTCUT}

    page.get_by_role("textbox", name="or enter the path of a file").fill(
        str(demo.folder / "training-messages.jsonl")
    )
    page.get_by_role("radio", name="leave out texts with them").click()
    page.get_by_role("button", name="Create cleaned file").click()
    with page.expect_download(timeout=LONG) as found:
        page.get_by_role("button", name="Download cleaned file").click(timeout=LONG)
    cleaned = [json.loads(line) for line in found.value.path().read_text().splitlines()]
    before = (demo.folder / "training-messages.jsonl").read_text().splitlines()
    assert 0 < len(cleaned) < len(before)
    assert not any(re.search(rf"\b{SHORTCUT}\b", row["text"].lower()) for row in cleaned)


def test_slices_are_discovered_compared_and_opened(page, address, database):
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM kept_tables WHERE name = ?", (DISCOVERED,))
    visit(page, f"{address}/slices")
    page.get_by_role("button", name="Look for slices").click()
    page.get_by_role("button", name="Search again").wait_for(timeout=LONG)
    settle(page)
    choose_row(page, "Slices that are discovered", 0)
    page.get_by_role("button", name="Compare with the rest").click()
    settle(page)
    assert query(page)["compare_a"] == "meta.channel:voicemail"
    assert query(page)["compare_b"] == "-meta.channel:voicemail"
    assert page.get_by_text("Fisher's exact test").last.is_visible()
    page.get_by_role("button", name=re.compile(r"^Wrong .*predictions")).click()
    page.wait_for_url(re.compile("/errors\\?"))
    settle(page)
    assert query(page)["where"] == "wrong meta.channel:voicemail"


def test_wrong_labels_are_found_told_at_first_sight_and_put_right(page, address, database, demo):
    run = open_store(database).run()
    issues = issue_rows(run.filter("label_issue"))
    found = set(issues["id"])
    assert len(found & demo.wrong_labels) >= 0.7 * len(demo.wrong_labels)
    assert len(set(issues["id"][:10]) & demo.wrong_labels) >= 5
    visit(page, address)
    page.get_by_role("button", name="labels look wrong").click()
    page.wait_for_url(re.compile("/data"))
    settle(page)
    assert page.get_by_text("high").first.is_visible()
    choose_row(page, "Examples whose label may be wrong", 0)
    page.get_by_role("button", name=f"Relabel as {issues['likely'][0]}").click()
    page.get_by_text("is now labelled").wait_for()
    assert run.filter(f"relabelled id:{issues['id'][0]}").count() == 1
    choose_row(page, "Groups of duplicates", 0)
    page.get_by_role("button", name="Drop the other").click()
    page.get_by_text("are tagged “drop”").wait_for()
    assert run.filter("tag:drop").count() == run.filter("duplicate_conflict tag:drop").count() > 0
    choose_row(page, "Findings of the dataset checks", 0)
    page.wait_for_url(re.compile("/errors\\?.*where="))
    assert query(page)["where"] in ("duplicate_conflict", "in_train")


def test_an_edited_text_gets_another_answer(page, address, database):
    store = open_store(database)
    one, other = (
        store.run()
        .filter(f"right predicted:{label}")
        .examples(sort="confidence", descending=True, limit=1)
        for label in ("delivery", "billing")
    )
    # The filter goes along to the next page, where the word is taken out of its texts.
    visit(page, f"{address}/example?where=word:{SHORTCUT}&id={one['id'].iloc[0]}")
    page.get_by_role("button", name="Edit this text and see what changes").click()
    page.wait_for_url(re.compile("/what_if\\?"))
    settle(page)
    assert query(page)["what_id"] == one["id"].iloc[0]
    assert metric(page, "Original prediction").count() == 0, "no model without a click"
    page.get_by_role("button", name="Load the model").click()
    metric(page, "Effect of the edit").wait_for(timeout=LONG)
    expect(metric(page, "Effect of the edit")).to_contain_text("no change")
    box = page.get_by_role("textbox", name="Edited text")
    box.fill(other["text"].iloc[0])
    box.press("Control+Enter")
    expect(metric(page, "Effect of the edit")).to_contain_text(
        "a different prediction", timeout=LONG
    )
    settle(page)
    expect(metric(page, "Original prediction")).to_contain_text("delivery")
    expect(metric(page, "New prediction")).to_contain_text("billing")
    assert query(page)["edited"] == other["text"].iloc[0]
    assert page.locator(".painted").count() == 2

    page.get_by_role("radio", name="a word in a slice").click()
    settle(page)
    page.get_by_role("textbox", name="Word", exact=True).fill(SHORTCUT)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Run the model").click()
    metric(page, "Predictions that change").wait_for(timeout=LONG)
    settle(page)
    held = store.run().filter(f"word:{SHORTCUT}").count()
    expect(metric(page, "Texts edited")).to_contain_text(str(held))
    page.locator(".rows .row").first.click()
    page.wait_for_url(re.compile("/example\\?"))
    settle(page)
    opened = store.run().example(query(page)["id"])
    assert SHORTCUT in [word.lower() for word in opened["words"]]
