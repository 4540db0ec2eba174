"""Takes the screenshots of the documentation, and a full set to look at after a change.

`python -m tools.screenshots` takes those of docs/images from the demonstration;
`python -m tools.screenshots --db FILE --folder DIR --all` every size and theme of any file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from saliency_core.paths import demo_folder
from tools.browser import PAGES, chromium, new_page, page_address, served, visit

HEIGHT, WHOLE = 1300, 4000
"""Pixels of a picture in the documentation, and of one that shows a whole page."""
COLOURS = 128
"""Colours a picture keeps: a third of the bytes; rare ones are kept, as charts use them."""
VIEWS = {
    "": {},
    "-dark": {"dark": True},
    "-phone": {"width": 390, "height": 844},
    "-phone-dark": {"width": 390, "height": 844, "dark": True},
}


def main() -> None:
    """Take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db", type=Path, default=demo_folder() / "demo.sqlite")
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    parser.add_argument("--all", action="store_true", help="every size and theme")
    parser.add_argument("--pages", nargs="*", default=PAGES, choices=PAGES)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    views = VIEWS if arguments.all else {"": {}}
    with served(arguments.db.resolve()) as address, chromium() as browser:
        for suffix, view in views.items():
            page = new_page(browser, address, **view)
            for name in arguments.pages:
                visit(page, page_address(address, name))
                page.wait_for_timeout(600)
                # Streamlit scrolls an inner box: the window must be as high as what is in it.
                height = page.evaluate(
                    "document.querySelector('[data-testid=stMain]').scrollHeight + 60"
                )
                size = page.viewport_size
                most = WHOLE if arguments.all else HEIGHT
                page.set_viewport_size({"width": size["width"], "height": min(height, most)})
                page.wait_for_timeout(300)
                path = arguments.folder / f"{name}{suffix}.png"
                page.screenshot(path=path)
                picture = Image.open(path).convert("RGB")
                picture = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
                picture.save(path, optimize=True)
                page.set_viewport_size(size)
            page.close()


if __name__ == "__main__":
    main()
