"""The browser and the page of tests that drive one; each test file serves its own `address`."""

import pytest

from tools.browser import chromium, new_page


@pytest.fixture(scope="module")
def browser():
    """Return a browser that ends with the file: Playwright runs once at a time in a process."""
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser, address):
    """Return a page of the address, which asks for nothing else and shows no exception."""
    opened = new_page(browser, address)
    yield opened
    assert not opened.refused, f"the page asked for {opened.refused}"
    assert opened.get_by_test_id("stException").count() == 0
    opened.close()
