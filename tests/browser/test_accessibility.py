"""axe-core finds nothing serious on any page, in either theme."""

from pathlib import Path

import axe_playwright_python
import pytest

from tools.browser import CHROMIUM, PAGES, chromium, new_page, page_address, served, settle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
SERIOUS = ("serious", "critical")


def serious(page) -> list[tuple]:
    """Return what axe-core finds: rule, part of the page and what is wrong with it."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        (one["id"], node["html"], node["failureSummary"])
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


def test_nothing_serious_on_any_page_in_either_theme_and_each_has_a_title(demo):
    with served(demo.database) as address, chromium() as browser:
        for dark in (False, True):
            page = new_page(browser, address, dark=dark)
            titles = set()
            for name in PAGES:
                page.goto(page_address(address, name))
                settle(page)
                assert not serious(page), (name, dark)
                titles.add(page.title())
            assert len(titles) == len(PAGES)
            assert "Errors · wrong · messages - Saliency audit" in titles
            page.close()
