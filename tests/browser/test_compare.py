"""From the first screen to the evidence, and through a comparison of two models, in a browser."""

import re

import pytest
from playwright.sync_api import expect

from saliency_core.analysis.run_comparison import by_group, compare
from saliency_core.store import open_store
from tests.support.word_model import compared_store, of_kind
from tools.browser import CHROMIUM, choose_row, chromium, new_page, served, settle, visit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return compared_store(tmp_path_factory.mktemp("compare") / "a.sqlite").path


@pytest.fixture(scope="module")
def page(database):
    with served(database) as address, chromium() as browser:
        opened = new_page(browser, address)
        opened.address = address
        yield opened
        assert not opened.refused, f"the page asked for {opened.refused}"


def filter_of(page) -> str:
    return page.get_by_label("Filter", exact=True).input_value()


def test_findings_bars_and_points_lead_to_what_they_count(page, database):
    run = open_store(database).run()
    visit(page, page.address)
    finding = page.locator("[class*=st-key-finding-] button").first
    expect(finding).to_contain_text(re.compile(r"^\d+% wrong where “channel” is voicemail"))
    # The whole row leads there, not its words alone.
    finding.click(position={"x": finding.bounding_box()["width"] - 20, "y": 5})
    page.wait_for_url(re.compile("/errors\\?"))
    settle(page)
    assert filter_of(page) == "wrong meta.channel:voicemail"
    visit(page, page.address)
    bars = page.get_by_test_id("stVegaLiteChart").nth(1).locator(".mark-rect path")
    bars.first.wait_for(state="attached")
    bars.nth(max(range(bars.count()), key=lambda n: bars.nth(n).bounding_box()["height"])).click()
    page.wait_for_url(re.compile("/errors\\?"))
    settle(page)
    where = filter_of(page)
    assert where.startswith("wrong confidence>=")
    count = run.filter(where).count()
    expect(page.get_by_text(re.compile(rf"^{count} of 240 examples"))).to_be_visible()


def test_a_comparison_is_narrowed_opened_walked_through_and_come_back_to(page, database):
    before, after = (open_store(database).run(number) for number in (1, 2))
    visit(page, f"{page.address}/compare")
    headline = page.get_by_role("heading", name=re.compile("^control is better"))
    expect(headline).to_be_visible()
    group = by_group(before, after).iloc[0]
    choose_row(page, "Accuracy of both runs by class, metadata value and saved slice", 0)
    assert filter_of(page) == group["filter"]
    found = compare(before, after, group["filter"])
    fixed = len(of_kind(found, "fixed"))
    assert fixed > 1
    expect(page.get_by_text(f"Newly right ({fixed})")).to_be_visible()
    page.locator(".row .about").first.click()
    settle(page)
    page.wait_for_url(re.compile("/example\\?.*other=1"))
    settle(page)
    assert filter_of(page) == f"{group['filter']} right wrong_in:1"
    expect(page.locator(".row .head").first).to_have_text(re.compile("^biased: .* ✗$"))
    expect(page.locator(".row .head").nth(1)).to_have_text(re.compile("^control: .* ✓$"))
    page.keyboard.press("j")
    expect(page.get_by_text(re.compile(rf"^2 of {fixed} "))).to_be_visible()
    settle(page)
    expect(page.locator(".row .head").first).to_have_text(re.compile("^biased: .* ✗$"))
    page.get_by_role("button", name="Back to the comparison").click()
    expect(headline).to_be_visible()
    settle(page)
    assert filter_of(page) == group["filter"]
    page.get_by_role("button", name="Swap").click()
    expect(page.get_by_text(re.compile(rf"^Newly wrong \({fixed}\)"))).to_be_visible()
