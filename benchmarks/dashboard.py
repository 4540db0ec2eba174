"""How fast the dashboard answers on a large file, and whether it stands ten minutes of clicking.

    python -m benchmarks.dashboard FILE                 first loads and interactions, in Chromium
    python -m benchmarks.dashboard FILE --soak MINUTES  four browsers that click at random
    python -m benchmarks.dashboard FILE --questions     what the pages compute, without a browser

prints the tables of docs/benchmarks.md. FILE is one of `benchmarks/store_scale.py`. A time is
that of the browser: from the request or the click until the last change of the page before it has
settled, which is when the script has ended and every chart and list is drawn.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Page, TimeoutError, expect

from benchmarks.store_scale import spelling
from saliency_core.analysis.calibration import calibration
from saliency_core.analysis.highlights import findings
from saliency_core.analysis.layers.agreement import layer_agreement
from saliency_core.analysis.layers.group_coherence import coherence_of_classes, coherence_of_slices
from saliency_core.analysis.similar_explanations import nearest_explanations
from saliency_core.analysis.word_profile import word_profile
from saliency_core.analysis.word_tables import contrast, word_table
from saliency_core.errors import UserError
from saliency_core.store import Run, open_store
from tools.browser import (
    PAGES,
    TIMEOUT,
    chromium,
    new_page,
    open_row,
    page_address,
    served,
    settle,
)

FIRST_BUDGET, NEXT_BUDGET, BULK_BUDGET = 3.0, 1.0, 3.0
"""Seconds of a first load, of everything after it, and of a decision on all examples at once."""
VISITORS = 4
VISITOR_TIMEOUT = 5_000
"""Milliseconds that a visitor looks for a control, which an earlier click may have put away."""
WORD, RARE = spelling(40), spelling(3_000)


def clicked(page: Page, name: str, role: str = "button", exact: bool = True) -> None:
    page.get_by_role(role, name=name, exact=exact).first.click()
    settled(page)


def settled(page: Page) -> None:
    """Wait for the rerun that an action causes, and for its end."""
    page.wait_for_timeout(50)
    settle(page)


def filtered(where: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        line = page.get_by_label("Filter", exact=True)
        line.fill(where)
        line.press("Enter")
        settled(page)

    return act


def chosen(label: str, option: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.get_by_role("combobox", name=label).first.click()
        page.get_by_role("option", name=option, exact=True).click()
        settled(page)

    return act


def moved(key: str = "ArrowRight", slider: int = 0) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        found = page.get_by_role("slider").nth(slider)
        found.focus()
        found.press(key)
        settled(page)

    return act


def typed(label: str, text: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        box = page.get_by_label(label, exact=True)
        box.fill(text)
        box.press("Enter")
        settled(page)

    return act


def shown(view: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.get_by_test_id("stButtonGroup").get_by_text(view, exact=True).click()
        settled(page)

    return act


def to_page(number: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.get_by_test_id("stPagination").get_by_text(number, exact=True).click()
        settled(page)

    return act


def visited(name: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.get_by_role("link", name=name, exact=True).first.click()
        page.get_by_role("heading", name=name, level=1).wait_for()
        settled(page)

    return act


def cell(page: Page) -> None:
    page.get_by_test_id("stVegaLiteChart").first.locator(".mark-rect path").nth(1).click()
    page.wait_for_url(re.compile("/errors"))
    settled(page)


def row(page: Page) -> None:
    open_row(page, 2)
    settled(page)


def pressed(key: str) -> Callable[[Page], None]:
    """Press a key of the review panel, out of any field; each leads to another example."""

    def act(page: Page) -> None:
        place = page.get_by_text(re.compile(r"^[0-9,]+ of [0-9,]+ in the filter"))
        before = place.inner_text()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press(key)
        expect(place).not_to_have_text(before)
        settled(page)

    return act


def tag_everything(page: Page) -> None:
    page.get_by_role("button", name=re.compile("Select all [0-9,]+ that match the filter")).click()
    page.get_by_label("Add tag").fill("everything")
    page.keyboard.press("Enter")
    page.get_by_text(re.compile("^Saved for [0-9,]+ of")).first.wait_for()
    settled(page)


def undo_that(page: Page) -> None:
    page.get_by_role("button", name="Undo", exact=True).first.click()
    page.get_by_text("Undone.").first.wait_for()
    settled(page)


Action = tuple[str, Callable[[Page], None]]
ACTIONS: dict[str, list[Action]] = {
    "errors": [
        ("page 2", to_page("2")),
        ("filter: word", filtered(f"word:{WORD}")),
        ("filter: rare word, wrong", filtered(f"wrong word:{RARE}")),
        ("filter: phrase", filtered(f'"{WORD} {spelling(50)}"')),
        ("filter: everything", filtered("")),
        ("sort: least coherent", chosen("Sort by", "least coherent")),
        ("another layer", moved()),
        ("open a row", row),
    ],
    "example": [
        ("next", lambda page: clicked(page, "Next", exact=False)),
        ("another layer", moved()),
        ("gold class", shown("gold")),
        ("filter: everything", filtered("")),
    ],
    "layers": [("another layer, left", moved()), ("filter: wrong", filtered("wrong"))],
    "words": [
        ("another layer", moved()),
        ("filter: wrong", filtered("wrong")),
        ("wrong vs right", shown("Wrong vs right")),
        ("vocabulary of classes", shown("Class vocabulary")),
        ("one word", typed("One word", WORD)),
        ("one rare word", typed("One word", RARE)),
    ],
    "overview": [("confusion cell to its examples", cell)],
    "suspects": [("to Overview", visited("Overview")), ("and Words", visited("Words"))],
}
DECISIONS: dict[str, list[Action]] = {
    "errors": [
        ("back to everything", lambda page: (visited("Errors")(page), filtered("")(page))),
        ("tag all of the filter", tag_everything),
        ("undo that", undo_that),
    ],
    "example": [("label by a key", pressed("1")), ("undo by a key", pressed("u"))],
}
"""Measured after the actions; random visitors leave them alone."""
BULK = ("tag all of the filter", "undo that")


NOTE_CHANGES = """
new MutationObserver(found => {
    if (found.some(change => change.target.tagName != "CANVAS")) window.changed = Date.now();
}).observe(document, {subtree: true, childList: true, attributes: true, characterData: true})
"""
"""Lets a page remember when it last changed to the eye.

A table is a canvas; a while after it is drawn, what it says is put inside for screen readers.
"""


def timed(page: Page, act: Callable[[Page], object]) -> float:
    """Return the seconds until the page's last change."""
    begun = time.time()
    act(page)
    return page.evaluate("window.changed") / 1000 - begun


def measure(path: Path, repeats: int) -> list[tuple[str, str, float, float]]:
    """Return page, action, budget and the median seconds of every first load and interaction."""
    times: dict[tuple[str, str, float], list[float]] = {}
    for _ in range(repeats):
        # A server that has answered nothing yet. The tabs of one browser share its cache, as a
        # person's do; a page that looks at what is asked for, as in the tests, would have none.
        with served(path) as address, chromium() as browser:
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            context.set_default_timeout(TIMEOUT)
            context.add_init_script(NOTE_CHANGES)
            warm = context.new_page()
            warm.goto(page_address(address, "new_audit"))
            settle(warm)
            warm.close()
            for name in PAGES:
                page = context.new_page()

                def load(page: Page, url: str = page_address(address, name)):
                    page.goto(url)
                    settle(page)

                key = (name, "first load", FIRST_BUDGET)
                times.setdefault(key, []).append(timed(page, load))
                for what, act in (*ACTIONS.get(name, []), *DECISIONS.get(name, [])):
                    key = (name, what, BULK_BUDGET if what in BULK else NEXT_BUDGET)
                    times.setdefault(key, []).append(timed(page, act))
                assert page.get_by_test_id("stException").count() == 0, name
                page.close()
    return [(*key, statistics.median(found)) for key, found in times.items()]


def print_times(rows: list[tuple[str, str, float, float]]) -> bool:
    """Print the table; return whether every budget holds."""
    print("| page | what | seconds | budget |\n|---|---|---:|---:|")
    for page, what, budget, seconds in rows:
        mark = "" if seconds <= budget else " **over**"
        print(f"| {page} | {what} | {seconds:.2f}{mark} | {budget:g} |")
    return all(seconds <= budget for *_, budget, seconds in rows)


def questions(path: Path) -> list[tuple[str, str, Callable[[Run], object]]]:
    """Return page, name and function of what a page computes when nothing is remembered yet."""
    some = (
        open_store(path)
        .run()
        .filter("wrong")
        .positions(sort="confidence", descending=True)[:50]
        .tolist()
    )
    return [
        ("every page", "filter columns", lambda run: run.filter("wrong").count()),
        ("overview", "findings", findings),
        ("overview", "calibration", lambda run: calibration(run.filter())),
        ("overview", "confusions", lambda run: run.filter().confusion()),
        (
            "errors",
            "order of all examples",
            lambda run: run.filter().positions(sort="confidence"),
        ),
        ("errors", "50 rows", lambda run: run.examples_at(some)),
        ("errors", "words of 50 rows", lambda run: run.top_words(some, 5)),
        ("example", "everything of one", lambda run: run.example(some[0])),
        (
            "example",
            "neighbours",
            lambda run: nearest_explanations(run.filter(), some[0], 5),
        ),
        ("layers", "agreement of layers", lambda run: layer_agreement(run.filter())),
        ("layers", "coherence of classes", lambda run: coherence_of_classes(run.filter())),
        (
            "layers",
            "coherence of slices",
            lambda run: coherence_of_slices(run, ["", "right"]),
        ),
        ("words", "words of all", lambda run: word_table(run.filter(), 5, most=1000)),
        (
            "words",
            "words of the wrong",
            lambda run: word_table(run.filter("wrong"), 5, most=1000),
        ),
        (
            "words",
            "wrong against right",
            lambda run: contrast(run.filter("wrong"), run.filter("right"), 5, most=1000),
        ),
        ("words", "one word", lambda run: word_profile(run.filter(), WORD)),
        ("words", "one rare word", lambda run: word_profile(run.filter(), RARE)),
    ]


def print_questions(path: Path) -> None:
    """Print the processor time of each question: what other programs do does not count."""
    run = open_store(path).run()
    print("| page | question | processor, ms | passed, ms |\n|---|---|---:|---:|")
    for page, name, ask in questions(path):
        begun, used = time.perf_counter(), time.process_time()
        try:
            ask(run)
        except UserError as error:
            print(f"| {page} | {name} | {error} | |")
            continue
        used, passed = time.process_time() - used, time.perf_counter() - begun
        print(f"| {page} | {name} | {1000 * used:.0f} | {1000 * passed:.0f} |", flush=True)


def server_megabytes() -> tuple[float, float]:
    """Return the memory of the server's own, and what it has mapped of files.

    The server is the one Python among this process's children. Pages of the database that SQLite
    has mapped are the system's cache: they go when memory is asked for.
    """
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
        except OSError:
            continue
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if facts["PPid"] == str(os.getpid()) and facts["Name"].startswith("python"):
            own, mapped = (int(facts[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
            return own, mapped
    return 0.0, 0.0


def click_at_random(page: Page, address: str, draw: random.Random) -> str:
    """Do one thing that a visitor may do; return what."""
    name = draw.choice([name for name in PAGES if name != "new_audit"])
    what, act = draw.choice([("load", None), *ACTIONS.get(name, [])])
    wanted = page_address(address, name)
    if act is None or page.url.split("?")[0].rstrip("/") != wanted:
        page.goto(wanted)
        settle(page)
    if act is not None:
        # What an earlier click led to may lack the control: another thing is done then.
        with suppress(TimeoutError):
            act(page)
    return f"{name}: {what}"


def visitor(address: str, ends: float, seed: int, clicks: list[int], failures: list[str]) -> None:
    """Click at random in one browser until `ends`, a time of the monotonic clock."""
    draw = random.Random(seed)
    with chromium() as browser:
        page = new_page(browser, address)
        page.set_default_timeout(VISITOR_TIMEOUT)
        page.set_default_navigation_timeout(TIMEOUT)
        while time.monotonic() < ends:
            try:
                what = click_at_random(page, address, draw)
            except (AssertionError, TimeoutError) as error:
                failures.append(f"never settled: {error}")
                continue
            clicks[seed] += 1
            alerts = page.get_by_test_id("stException")
            if alerts.count():
                failures.append(f"{what}: {alerts.first.inner_text()}")


def soak(path: Path, minutes: float) -> bool:
    """Let four visitors click at once; print memory and exceptions by minute."""
    clicks, failures = [0] * VISITORS, []
    with served(path) as address:
        begun = time.monotonic()
        threads = [
            threading.Thread(
                target=visitor, args=(address, begun + 60 * minutes, seed, clicks, failures)
            )
            for seed in range(VISITORS)
        ]
        for thread in threads:
            thread.start()
        print("| minute | clicks | exceptions | server, MB | files, mapped, MB |")
        print("|---:|---:|---:|---:|---:|")
        while any(thread.is_alive() for thread in threads):
            passed = (time.monotonic() - begun) / 60
            own, mapped = server_megabytes()
            print(
                f"| {passed:.0f} | {sum(clicks)} | {len(failures)} | {own:.0f} | {mapped:.0f} |",
                flush=True,
            )
            for thread in threads:
                thread.join(60 / VISITORS)
    print("\n".join(failures))
    return not failures and all(clicks)


def main() -> None:
    """Measure or soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--questions", action="store_true")
    arguments = parser.parse_args()
    path = arguments.database.resolve()
    if arguments.questions:
        print_questions(path)
    elif arguments.soak:
        if not soak(path, arguments.soak):
            raise SystemExit("A page failed.")
    elif not print_times(measure(path, arguments.repeats)):
        raise SystemExit("A budget is exceeded.")


if __name__ == "__main__":
    main()
