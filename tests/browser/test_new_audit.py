"""An analyst's way from an empty start to "which model is better?", without a terminal."""

import csv
import json
import random

import numpy as np
import pytest
from playwright.sync_api import expect

from saliency_core.model.loading import load_classifier
from saliency_core.store import open_store
from tests.support.tiny_models import WORDS, save_tiny
from tools.browser import CHROMIUM, chromium, new_page, served, settle, visit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
ROWS = 40


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a tiny classifier of two classes, one of almost its weights, and texts it is sure of.

    Half of the texts, which come with their class, are of either class.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    folder, draw = tmp_path_factory.mktemp("models"), random.Random(0)
    named = {"id2label": {0: "negative", 1: "positive"}, "num_labels": 2}
    first, _ = save_tiny("bert", folder / "one", **named)
    second, _ = save_tiny("bert", folder / "two", **named)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(5, 9))) for _ in range(200)]
    classifier = load_classifier(first)
    logits = classifier.logits(classifier.encode(texts, None, classifier.max_length))
    lead = logits[:, 1] - logits[:, 0]
    order = lead.argsort().tolist()
    model = AutoModelForSequenceClassification.from_pretrained(first)
    for place, shift in ((first, 0.0), (second, 0.001)):
        with torch.no_grad():
            model.classifier.bias += torch.tensor([float(np.median(lead)) * (not shift), shift])
        model.save_pretrained(place)
    half = ROWS // 2
    chosen = [(texts[row], 0) for row in order[:half]] + [(texts[row], 1) for row in order[-half:]]
    return first, second, chosen


def write_reviews(path, texts):
    """Write a file whose text can't be guessed, whose label is guessed wrong, and is swapped."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review_id", "title", "comment", "label", "rating"])
        for n, (text, predicted) in enumerate(texts):
            title = f"a review of item number {n}"
            writer.writerow([f"R-{n}", title, text, ["dvd", "film", "tv"][n % 3], 1 - predicted])


def choose(page, label, value):
    """Choose or type a value of a select."""
    box = page.get_by_role("combobox", name=label, exact=True)
    box.fill(value)
    page.get_by_role("option", name=value).first.click()
    settle(page)


def reads_without_options(page):
    """Fail where what stands on the page speaks the language of a shell."""
    said = page.locator("[data-testid=stMainBlockContainer]").inner_text()
    assert "--" not in said and "python -m" not in said, said


def to_page(page, name):
    page.get_by_role("link", name=name, exact=True).first.click()
    page.get_by_role("heading", name=name, level=1).wait_for()
    settle(page)


def press(page, name):
    page.get_by_role("button", name=name, exact=True).first.click()
    settle(page)


def test_from_an_empty_start_to_two_models_compared(tmp_path, models):
    source, database = tmp_path / "reviews.csv", tmp_path / "cache" / "mine.sqlite"
    write_reviews(source, models[2])
    with chromium() as browser, served(database) as url:
        page = new_page(browser, url)
        visit(page, url)
        expect(page.get_by_text("No audit yet")).to_be_visible()
        reads_without_options(page)
        press(page, "Audit a file")
        first_audit(page, source, models[0])
        second_audit(page, models[1])
        press(page, "Compare")
        page.get_by_role("heading", name="Compare", level=1).wait_for()
        settle(page)
        assert page.get_by_test_id("stException").count() == 0
        reads_without_options(page)
        page.close()
    runs = open_store(database).runs()
    assert len(runs) == 2 and (runs["accuracy"] > 0.9).all()
    kept = json.loads(next((tmp_path / "cache" / "jobs").glob("*.json")).read_text())
    assert kept["form"]["called"] == "reviews.csv"


def first_audit(page, source, model):
    """Fill in the form: a column is not guessed, one guessed wrong, and labels are swapped."""
    page.get_by_role("heading", name="New audit").wait_for()
    press(page, "Start")
    expect(page.get_by_text("Upload a file, or name one.").first).to_be_visible()
    page.locator("input[type=file]").set_input_files(source)
    settle(page)
    choose(page, "Classifier", model)
    # No column is the text without being surely it; the wrong guess is marked as a guess.
    assert page.get_by_role("combobox", name="Text", exact=True).input_value() == ""
    assert page.get_by_role("combobox", name="Label", exact=True).input_value() == "label"
    expect(page.get_by_text("Guessed from its name: please check.").first).to_be_visible()
    choose(page, "Text", "comment")
    expect(page.get_by_text("What the labels of the dataset mean to the model")).to_be_visible()
    choose(page, "Label", "rating")
    expect(page.get_by_text("What the labels of the dataset mean")).to_have_count(0)
    press(page, "Start")
    # The labels are the other way round: the page says so, and one click repairs it.
    expect(page.get_by_text("Failed.")).to_be_visible()
    expect(page.get_by_text("in another order than the model's")).to_be_visible()
    reads_without_options(page)
    press(page, "Swap the labels")
    expect(page.get_by_text("Finished:")).to_be_visible()
    reads_without_options(page)
    with page.expect_download() as report:
        page.get_by_role("button", name="Download report").click()
    assert "<html" in report.value.path().read_text(encoding="utf-8")


def second_audit(page, model):
    """Audit the same data with another model; the form knows the rest, wherever one has been."""
    press(page, "Audit again with another model")
    to_page(page, "Overview")
    to_page(page, "New audit")
    assert page.get_by_role("combobox", name="Text", exact=True).input_value() == "comment"
    assert page.get_by_role("radio", name="an existing database, to compare runs").is_checked()
    choose(page, "Classifier", model)
    press(page, "Start")
    expect(page.get_by_text("Finished:").first).to_be_visible()
