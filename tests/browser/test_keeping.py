"""What somebody types in a real browser is what the file holds, every time."""

import re
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import expect

from saliency_core.store import open_writer
from tests.support.store_made_up import example, write_all
from tools.browser import CHROMIUM, served, settle, visit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("keeping") / "made-up.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(number) for number in range(30)])
    return path


@pytest.fixture(scope="module")
def address(database):
    with served(database) as url:
        yield url


def test_a_link_to_a_run_that_is_not_there_says_so_and_leads_on(page, address):
    visit(page, f"{address}/errors?run=77&where=right")
    alert = page.get_by_test_id("stAlert")
    expect(alert).to_have_text("This link names run 77; this file has run 1.")
    assert page.locator(".row").count() == 0
    page.get_by_role("button", name="Show run 1").click()
    page.wait_for_url(re.compile("run=1"))
    settle(page)
    assert parse_qs(urlparse(page.url).query)["where"] == ["right"]
    assert page.locator(".row").count() and not alert.count()
    page.locator(".row .about").first.click()
    page.wait_for_url(re.compile("/example\\?"))
    settle(page)
    assert parse_qs(urlparse(page.url).query)["run"] == ["1"]
    page.go_back()
    page.wait_for_url(re.compile("/errors"))
    expect(page.locator(".row").first).to_be_visible()
