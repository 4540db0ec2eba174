"""Reviewing by keyboard in a real browser: as fast as somebody types, and nothing is lost."""

import re
import shutil
import sqlite3
from contextlib import closing

import pytest
from playwright.sync_api import expect

from saliency_core.store import open_store, open_writer
from saliency_core.store.schema import FORMAT
from tests.support.store_made_up import LABELS, example, write_all
from tools.browser import CHROMIUM, new_page, served, settle, visit

expect.set_options(timeout=30_000)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
A_KEY = 100
"""Milliseconds between two keys: ten a second."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("review") / "empty.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(number) for number in range(120)])
    return path


@pytest.fixture(scope="module")
def database(empty):
    return empty.with_name("made-up.sqlite")


@pytest.fixture(scope="module")
def address(database, empty):
    shutil.copy(empty, database)
    with served(database) as url:
        yield url


@pytest.fixture(autouse=True)
def nothing_reviewed(address, database, empty):
    for path in (database, database.with_name(f"{database.name}-wal")):
        path.unlink(missing_ok=True)
    shutil.copy(empty, database)


def wrong(database):
    """Return the wrong ones as the list has them."""
    part = open_store(database).run().filter("wrong")
    return part.examples(sort="confidence", descending=True)


def stored(page):
    """Wait until the panel has nothing on its way."""
    expect(page.locator(".said")).to_have_text(re.compile("^(Saved|Undone)"))
    settle(page)


def test_ten_keys_a_second_and_each_decision_is_stored(page, address, database):
    rows = wrong(database)
    visit(page, f"{address}/errors")
    keys, decided = ["j", "Enter"], []
    for number in range(30):
        label = rows["predicted"].iloc[number]
        is_relabelled = number % 3 == 0
        keys.append(str(1 + LABELS.index(label)) if is_relabelled else "0")
        decided.append(("label", label) if is_relabelled else ("right", None))
    for key in keys:
        page.keyboard.press(key)
        if key == "Enter":
            page.get_by_role("group", name="Review").wait_for()
        page.wait_for_timeout(A_KEY)
    stored(page)
    run = open_store(database).run()
    positions = rows["example"].tolist()[:30]
    held = [(one["decision"], one["label"]) for one in run.annotations_at(positions)]
    assert held == decided
    assert len(keys) <= 45 and len(run.actions()) == 30
    said = f"30 of {len(rows)} reviewed · 10 relabelled"
    expect(page.get_by_text(said)).to_be_visible()
    expect(page.get_by_text(f"31 of {len(rows)} that match the filter")).to_be_visible()
    assert page.get_by_label("ID", exact=True).input_value() == rows["id"].iloc[30]

    page.keyboard.press("k")
    expect(page.get_by_text(f"30 of {len(rows)} that match the filter")).to_be_visible()
    page.keyboard.press("u")
    page.keyboard.press("u")
    expect(page.get_by_text(f"29 of {len(rows)} that match the filter")).to_be_visible()
    stored(page)
    assert run.filter("reviewed").count() == 28
    place = page.get_by_text(re.compile(r"^\d+ of \d+ that match the filter"))
    for key, number in (("ArrowRight", 30), ("ArrowRight", 31), ("ArrowLeft", 30)):
        page.keyboard.press(key)
        expect(place).to_have_text(re.compile(f"^{number} of"))
    settle(page)
    # What moves by the same keys keeps them.
    for used in (page.get_by_role("slider").first, page.get_by_role("radio", checked=True).first):
        used.press("ArrowRight")
        settle(page)
    page.get_by_label("Your note").press("ArrowLeft")
    expect(place).to_have_text(re.compile("^30 of"))
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.get_by_text("J or →", exact=True).is_visible()
    assert page.get_by_text("the label is right", exact=True).is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_text("the label is right", exact=True).is_visible()


def test_every_note_is_the_one_that_was_typed_in_one_tab_and_in_two(
    browser, page, address, database
):
    id = wrong(database)["id"].iloc[0]
    run = open_store(database).run()
    visit(page, f"{address}/example?id={id}")
    other = new_page(browser, address)
    visit(other, f"{address}/example?id={id}")
    for note in ("first", "second, corrected", "3"):
        page.keyboard.press("n")
        page.get_by_label("Your note").fill(note)
        page.get_by_role("button", name="Save note").click()
        expect(page.locator(".said")).to_have_text(f"Saved for {id}: note “{note}”.")
        settle(page)
        assert run.note(id)["note"] == page.get_by_label("Your note").input_value() == note
    other.get_by_label("Your note").fill("of a tab that was open before")
    other.keyboard.press("Escape")
    expect(other.locator(".said")).to_contain_text("meanwhile been saved elsewhere: “3”")
    assert run.note(id)["note"] == "of a tab that was open before"
    other.get_by_role("button", name="Undo").click()
    expect(other.locator(".said")).to_contain_text("Undone")
    settle(other)
    assert run.note(id)["note"] == other.get_by_label("Your note").input_value() == "3"
    other.close()
    page.reload()
    page.get_by_role("group", name="Review").wait_for()
    settle(page)
    page.keyboard.press("u")
    expect(page.locator(".said")).to_contain_text("Nothing to undo since this page was loaded.")
    page.get_by_role("button", name="Open Errors").click()
    page.get_by_role("heading", name="Errors", level=1).wait_for()
    settle(page)
    page.get_by_role("button", name="History").click()
    expect(page.get_by_text(f"note “3” · {id} ·")).to_be_visible()
    page.get_by_role("button", name="Undo", exact=True).first.click()
    settle(page)
    assert run.note(id)["note"] == "second, corrected"
    phone = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True).new_page()
    visit(phone, f"{address}/example?id={id}")
    fields = phone.get_by_role("group", name="Review").locator("input, textarea")
    assert not {"N", "T, then Enter"} & {one.get_attribute("placeholder") for one in fields.all()}
    phone.context.close()


def test_what_could_not_be_stored_is_sent_again_by_itself(page, address, database):
    rows = wrong(database)

    def write_format(value):
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (value,))

    visit(page, f"{address}/example?id={rows['id'].iloc[0]}")
    write_format(FORMAT + 1)
    page.keyboard.press("0")
    expect(page.locator(".said")).to_have_text(re.compile("^Not saved: .*newer version"))
    write_format(FORMAT)
    stored(page)
    assert open_store(database).run().filter("reviewed").count() == 1


def test_leaving_loses_neither_a_note_nor_a_decision(page, address, database):
    rows = wrong(database)
    run = open_store(database).run()
    visit(page, f"{address}/example?id={rows['id'].iloc[0]}")
    page.get_by_label("Your note").fill("typed, then on by key")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.get_by_label("Your note").fill("typed, then to another page")
    page.get_by_role("link", name="Words", exact=True).click()
    page.get_by_role("heading", name="Words", level=1).wait_for()
    settle(page)
    assert run.notes()["note"].tolist() and set(run.notes()["note"]) == {
        "typed, then on by key",
        "typed, then to another page",
    }
    visit(page, f"{address}/example?id={rows['id'].iloc[2]}")
    page.keyboard.press("0")
    page.get_by_role("link", name="Words", exact=True).click()
    page.get_by_role("heading", name="Words", level=1).wait_for()
    settle(page)
    assert run.filter("reviewed").count() == 1
    visit(page, f"{address}/example?id={rows['id'].iloc[3]}")
    page.get_by_label("Your note").type("typed, then reloaded")
    page.reload()
    page.get_by_role("group", name="Review").wait_for()
    stored(page)
    assert run.note(rows["id"].iloc[3])["note"] == "typed, then reloaded"


def settled(page, said):
    """Wait until the list says what was done."""
    expect(page.locator(".said")).to_have_text(said)
    settle(page)


def centre_right(button):
    box = button.bounding_box()
    return box["x"] + box["width"] - 5, box["y"] + box["height"] / 2


def test_many_at_once_by_ticks_or_by_filter_undone_whole(page, address, database):
    rows = wrong(database)
    run = open_store(database).run()
    visit(page, f"{address}/errors")
    for key in "jxjjx":
        page.keyboard.press(key)
    page.get_by_label("Set label").select_option(LABELS[1])
    settled(page, f"Saved for 2 of 2 examples: label {LABELS[1]}.")
    held = run.annotations_at(rows["example"].tolist()[:3])
    assert [one["label"] for one in held] == [LABELS[1], None, LABELS[1]]
    page.get_by_label(f"Choose {rows['id'].iloc[1]}", exact=True).check()
    whole = page.get_by_role("button", name=f"Select all {len(rows)} that match the filter")
    whole.dblclick()
    page.mouse.click(*centre_right(whole))
    expect(page.get_by_text(f"{len(rows)} selected")).to_be_visible()
    page.get_by_label("Add tag").fill("look again")
    page.keyboard.press("Enter")
    settled(page, f"Saved for {len(rows)} of {len(rows)} examples: tag look again.")
    assert run.filter('tag:"look again"').count() == len(rows)
    first = page.locator(".row").first
    expect(first.locator(".mark").last).to_have_text("look again")
    page.get_by_role("button", name="Undo", exact=True).first.click()
    settled(page, "Undone.")
    assert run.annotations_at(rows["example"].tolist()[:2])[1]["tags"] == []
    relabelled = int((rows["gold"].iloc[[0, 2]] != LABELS[1]).sum())
    reviewed = f"2 of {len(rows)} reviewed · {relabelled} relabelled"
    expect(page.get_by_text(reviewed)).to_be_visible()
    page.get_by_role("button", name="History").click()
    page.get_by_role("button", name="Redo").click()
    settled(page, "Redone.")
    assert run.filter('tag:"look again"').count() == len(rows)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download corrections (CSV)").click()
    lines = download.value.path().read_text("utf-8").splitlines()
    assert len(lines) == 1 + len(rows) and "correct_label" in lines[0]
    visit(page, address)
    page.get_by_role("button", name=f"Wrong predictions: {reviewed}").click()
    page.get_by_role("heading", name="Errors", level=1).wait_for()
    settle(page)
    assert page.get_by_label("Filter", exact=True).input_value() == "wrong -reviewed"
    expect(page.get_by_text(f"{len(rows) - 2} of 120 examples")).to_be_visible()


def test_a_server_that_stopped_says_how_to_start_it_again(browser, empty, tmp_path):
    with served(shutil.copy(empty, tmp_path / "stopped.sqlite")) as url:
        page = new_page(browser, url)
        visit(page, f"{url}/errors")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The dashboard has stopped")
    expect(dialog).to_contain_text("python -m saliency_core dashboard")
    expect(dialog).not_to_contain_text("internet")
    page.close()
