"""What people click, in a real browser, on the demonstration's audit."""

import re
import shutil
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import expect

from saliency_core.analysis.similar_explanations import nearest_explanations
from saliency_core.demo.messages import SHORTCUT
from saliency_core.store import open_store, save_slice
from tools.browser import CHROMIUM, open_row, served, settle, visit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def address(demo):
    with served(demo.database) as url:
        yield url


def query(page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def shown_id(page) -> str:
    return page.get_by_label("ID", exact=True).input_value()


def move_layer(page, key: str) -> None:
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press(key)
    settle(page)


def test_confusion_cell_to_rows_to_example_to_layer_to_neighbour(page, address, demo):
    visit(page, address)
    chart = page.get_by_test_id("stVegaLiteChart").first
    marks = chart.locator(".mark-rect path")
    assert marks.count() == 16
    label = marks.nth(1).get_attribute("aria-label")
    predicted, gold = re.search(r"[Pp]redicted: (\w+); (?:gold|Label): (\w+)", label).groups()
    marks.nth(1).click()
    page.wait_for_url(re.compile("/errors\\?"))
    settle(page)
    where = query(page)["where"]
    assert where == f"gold:{gold} predicted:{predicted}"
    store = open_store(demo.database)
    total = store.run().filter(where).count()
    assert page.get_by_text(re.compile(rf"^{total} of 1,000 examples")).is_visible()

    rows = store.run().filter(where).examples(sort="confidence", descending=True, limit=50)
    open_row(page, 2)
    page.wait_for_url(re.compile("/example\\?"))
    settle(page)
    assert shown_id(page) == rows["id"].iloc[2] == query(page)["id"]
    painted = page.locator(".painted").first
    assert painted.inner_text().strip() == rows["text"].iloc[2].strip()

    before, layer = painted.inner_html(), store.run().recommended
    layer, key = (layer - 1, "ArrowLeft") if layer else (1, "ArrowRight")
    move_layer(page, key)
    assert query(page)["layer"] == str(layer)
    assert painted.inner_html() != before

    position = int(store.run().example(shown_id(page))["example"])
    nearest = nearest_explanations(store.run().filter(), position, layer)
    first = nearest[nearest["answer"] == nearest["answer"].iloc[0]].iloc[0]
    page.locator(".row .about").first.click()
    settle(page)
    expected = store.run().examples_at([int(first["example"])])["id"].iloc[0]
    expect(page.get_by_label("ID", exact=True)).to_have_value(expected)
    assert at_top(page)
    assert query(page)["layer"] == str(layer)


def filter_field(page):
    return page.get_by_label("Filter", exact=True)


def test_a_filter_is_typed_picked_put_right_and_taken_apart(page, address, demo):
    run = open_store(demo.database).run()

    def shows(where):
        expect(filter_field(page)).to_have_value(where)
        count = run.filter(where).count()
        expect(page.get_by_text(re.compile(rf"^{count:,} of 1,000 examples"))).to_be_visible()

    visit(page, f"{address}/errors?where=wrong meta.channel:voicemail")
    page.get_by_role("button", name="Add term").click()
    settle(page)
    for name, value in (("Label in the data", "billing"), ("Label in the data", "fault")):
        page.get_by_role("combobox", name=name).fill(value)
        page.get_by_role("option", name=value, exact=True).click()
        settle(page)
    shows("wrong meta.channel:voicemail gold:billing,fault")
    page.get_by_role("radio", name="right").click()
    settle(page)
    shows("right meta.channel:voicemail gold:billing,fault")
    page.get_by_label("Contains the word", exact=True).focus()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Does not contain the word")).to_be_focused()
    for words, negated in (("kindly", " -word:kindly"), ("", "")):
        page.get_by_label("Does not contain the word").fill(words)
        page.get_by_label("Does not contain the word").press("Enter")
        settle(page)
        shows("right meta.channel:voicemail gold:billing,fault" + negated)
    page.keyboard.press("Escape")

    page.get_by_role("button", name="meta.channel:voicemail").click()
    settle(page)
    shows("right gold:billing,fault")

    filter_field(page).fill("not wrong and kindly gold:biling")
    filter_field(page).press("Enter")
    settle(page)
    expect(page.get_by_role("alert")).to_contain_text("'biling' is not a label")
    count = run.filter("right gold:billing,fault").count()
    assert page.get_by_text(re.compile(rf"^{count:,} of 1,000 examples")).is_visible()
    page.get_by_role("button", name="billing", exact=True).click()
    settle(page)
    expect(page.get_by_role("alert")).to_have_count(0)
    filter_field(page).press("End")
    filter_field(page).press("Space")
    filter_field(page).press("Enter")
    settle(page)
    shows("-wrong word:kindly gold:billing")

    # It lasts over every change of page, and shows as chips where there is no line.
    for name in ("Overview", "Words", "Suspects", "Example", "Data", "Errors"):
        page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True).click()
        settle(page)
        expect(page.get_by_role("heading", name=name, exact=True, level=1)).to_be_visible()
        expect(page.get_by_role("button", name="word:kindly")).to_be_visible()
    shows("-wrong word:kindly gold:billing")


def test_a_file_that_changes_under_an_open_page_is_noticed(page, address, demo):
    watched = Path(shutil.copy(demo.database, demo.folder / "watched.sqlite"))
    notice = page.locator(".st-key-file-watch")
    try:
        visit(page, f"{address}/errors?db=watched.sqlite")
        save_slice(watched, "hard", "wrong confidence>0.9")
        expect(notice).to_contain_text("has changed since this page was loaded")
        notice.get_by_role("button").click()
        settle(page)
        expect(notice).to_have_count(0)
        watched.unlink()
        expect(notice).to_contain_text("is gone: it was moved or deleted")
    finally:
        watched.unlink(missing_ok=True)


def test_a_selected_row_never_opens_another_example_after_paging(page, address, demo):
    visit(page, f"{address}/errors?where=right")
    page.get_by_test_id("stPagination").get_by_text("2", exact=True).click()
    settle(page)
    open_row(page, 3)
    page.wait_for_url(re.compile("/example\\?"))
    settle(page)
    frame = (
        open_store(demo.database)
        .run()
        .filter("right")
        .examples(sort="confidence", descending=True, limit=50, offset=50)
    )
    assert shown_id(page) == frame["id"].iloc[3]


def test_a_pasted_address_restores_example_layer_and_filter(page, address, demo):
    where = f"wrong word:{SHORTCUT}"
    frame = (
        open_store(demo.database).run().filter(where).examples(sort="confidence", descending=True)
    )
    chosen = frame["id"].iloc[1]
    visit(page, f"{address}/example?where={where}&id={chosen}&layer=2")
    assert shown_id(page) == chosen
    assert page.get_by_text(f"2 of {len(frame)} that match the filter").is_visible()
    assert query(page)["layer"] == "2"
    page.get_by_role("button", name="Next").click()
    settle(page)
    assert shown_id(page) == frame["id"].iloc[2]


def to_page(page, name):
    page.get_by_role("link", name=name, exact=True).first.click()
    page.get_by_role("heading", name=name, level=1).wait_for()
    settle(page)


def view(page):
    """Return filter and layer, as the page shows them."""
    slider = page.get_by_test_id("stSlider").filter(has_text="Layer").first
    return page.get_by_label("Filter", exact=True).input_value(), int(
        slider.get_by_role("slider").get_attribute("aria-valuetext")
    )


def test_what_was_chosen_follows_to_other_pages_and_what_was_not_does_not(page, address, demo):
    recommended = open_store(demo.database).run().recommended
    visit(page, f"{address}/errors")
    assert view(page) == ("wrong", recommended)
    to_page(page, "Words")
    assert view(page) == ("", recommended)
    to_page(page, "Example")
    assert view(page) == ("wrong", recommended)
    line = page.get_by_label("Filter", exact=True)
    line.fill(f"word:{SHORTCUT}")
    line.press("Enter")
    page.wait_for_url(re.compile("where=word"))
    settle(page)
    to_page(page, "Overview")
    to_page(page, "Words")
    assert view(page) == (f"word:{SHORTCUT}", recommended)
    assert query(page)["where"] == f"word:{SHORTCUT}"
    visit(page, f"{address}/errors")
    open_row(page, 1)
    page.wait_for_url(re.compile("/example\\?"))
    settle(page)
    page.go_back()
    page.wait_for_url(re.compile("/errors"))
    settle(page)
    assert view(page) == ("wrong", recommended)


def test_rows_are_walked_and_opened_by_keyboard(page, address, demo):
    visit(page, f"{address}/errors?where=wrong")
    page.locator(".row").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/example\\?"))
    settle(page)
    frame = (
        open_store(demo.database).run().filter("wrong").examples(sort="confidence", descending=True)
    )
    assert shown_id(page) == frame["id"].iloc[1]
    page.keyboard.press("j")
    expect(page.get_by_label("ID", exact=True)).to_have_value(frame["id"].iloc[2])
    settle(page)


def test_a_table_and_a_chart_can_be_kept(page, address):
    visit(page, f"{address}/words?word={SHORTCUT}")
    for name, beginning in (("CSV", "word,"), ("SVG", "<svg")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).first.click()
        assert download.value.path().read_text(encoding="utf-8").startswith(beginning)


def test_words_wrong_against_right_to_the_examples_of_a_word(page, address, demo):
    visit(page, f"{address}/words?view=Wrong+vs+right&word={SHORTCUT}")
    page.get_by_role("button", name="Wrong predictions with it").click()
    page.wait_for_url(re.compile("/errors\\?"))
    settle(page)
    total = open_store(demo.database).run().filter(query(page)["where"]).count()
    assert query(page)["where"] == f"wrong word:{SHORTCUT}" and total
    assert page.get_by_text(re.compile(rf"^{total} of 1,000 examples")).is_visible()


def test_a_filter_that_cannot_be_read_is_explained_and_nothing_breaks(page, address):
    visit(page, f"{address}/errors?where=wrogn")
    alert = page.get_by_test_id("stAlert").inner_text()
    assert "wrogn" in alert
    page.get_by_role("button", name="wrong", exact=True).click()
    expect(page).not_to_have_url(re.compile("wrogn"))
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def place(page) -> tuple:
    """Return what a reader would miss: page, address, scroll, and the first row of the list."""
    scroll = page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop")
    return urlparse(page.url).path, query(page), round(scroll)


def scroll_down(page, by: int) -> None:
    page.mouse.move(700, 500)
    page.mouse.wheel(0, by)
    page.wait_for_timeout(300)


def choose(page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).first.fill(option)
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


def at_top(page) -> bool:
    page.wait_for_timeout(300)
    return page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 0


def test_back_and_forward_bring_back_what_was_there_one_entry_a_change(page, address, demo):
    part = open_store(demo.database).run().filter("right")
    visit(page, f"{address}/errors?where=right")
    choose(page, "Sort by", "least confident")
    page.get_by_test_id("stPagination").get_by_text("2", exact=True).click()
    settle(page)
    scroll_down(page, 700)
    listed = place(page)
    assert listed[1] == {"run": "1", "where": "right", "sort": "least confident", "page": "2"}
    assert listed[2] > 300
    rows = part.examples(sort="confidence", descending=False, limit=50, offset=50)["id"]

    open_row(page, 12)
    page.wait_for_url(re.compile("/example\\?"))
    settle(page)
    assert shown_id(page) == rows.iloc[12] and at_top(page)
    total = part.count()
    assert page.get_by_role("button", name=f"← Back to the {total} examples").is_visible()
    expect(
        page.get_by_text(f"63 of {total} that match the filter, least confident first")
    ).to_be_visible()
    page.keyboard.press("j")
    settle(page)
    # Next follows the order of the list.
    expect(page.get_by_label("ID", exact=True)).to_have_value(rows.iloc[13])
    settle(page)
    scroll_down(page, 400)
    half_read = place(page)
    assert half_read[2] > 200
    to_page(page, "Words")
    assert view(page)[0] == "right"
    page.get_by_text("Wrong vs right", exact=True).click()
    settle(page)
    to_page(page, "Overview")

    def gone(go, path: str, **expected: str) -> None:
        go()
        settle(page)
        page.wait_for_timeout(300)
        found = place(page)
        assert found[0] == path and found[1] == {"run": "1", **expected}

    listing = {"where": "right", "sort": "least confident"}
    gone(page.go_back, "/words", where="right", view="Wrong vs right")
    gone(page.go_back, "/words", where="right")
    for id in (rows.iloc[13], rows.iloc[12]):
        gone(page.go_back, "/example", id=id, **listing)
        assert shown_id(page) == id
        if id == rows.iloc[13]:
            assert place(page) == half_read
    gone(page.go_back, "/errors", page="2", **listing)
    assert place(page) == listed, "also the place on the page"
    gone(page.go_forward, "/example", id=rows.iloc[12], **listing)
    gone(page.go_forward, "/example", id=rows.iloc[13], **listing)
    gone(page.go_back, "/example", id=rows.iloc[12], **listing)
    gone(page.go_back, "/errors", page="2", **listing)
    gone(page.go_back, "/errors", **listing)
    gone(page.go_back, "/errors", where="right")
