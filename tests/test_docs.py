"""What the documentation says is there is there, and what can be run runs."""

import re
import shlex
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from saliency_core import __version__
from saliency_core.cli import app
from saliency_core.store.schema import FORMAT
from tests.support.paths import ROOT
from tests.support.tiny_bert import save_tiny_bert

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TOPS = (ROOT, ROOT / "saliency_core")
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
PROGRAM = ["python", "-m", "saliency_core"]


def blocks(page, *languages):
    """Return the code blocks of a page in one of the languages, in their order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    return [text for language, text in found if not languages or language in languages]


def commands(text):
    """Return the command lines of a block as words, continued lines joined."""
    lines = re.sub(r"\\\n\s*", " ", text).split("\n")
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def program_call(words):
    """Return the arguments of a call of this program, None where it is another one."""
    words = [word.removeprefix(".venv/bin/") for word in words]
    return words[3:] if words[:3] == PROGRAM else None


def anchors(page):
    """Return the anchors GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), f"{name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{name} links to {target}"


def test_every_heading_of_the_method_that_the_code_names_is_there():
    heads = re.findall(
        r"^## (.+?)(?: \[.*\])?$", (ROOT / "docs/method.md").read_text("utf-8"), re.M
    )
    for file in (ROOT / "saliency_core").rglob("*.py"):
        text = file.read_text("utf-8")
        assert not re.search(r"\b(METHOD|DESIGN) (section )?\d", text), file
        for named in re.findall(r"docs/method\.md,\s+“([^”]+)”", text):
            assert named in heads, f"{file} names {named}"


def test_every_place_the_architecture_names_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    places = re.findall(r"`([\w/]+(?:/|\.py))`", text)
    assert len(places) > 30
    assert [one for one in places if not any((top / one).exists() for top in TOPS)] == []


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {__version__}\n" in text and "2308.05219" in text


def test_the_number_of_the_format_is_the_program_s():
    text = (ROOT / "docs" / "file-format.md").read_text("utf-8")
    assert re.findall(r"\(now (\d+)\)", text) == [str(FORMAT)]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_shown_can_be_parsed(name):
    for words in (words for block in blocks(ROOT / name, "", "sh") for words in commands(block)):
        arguments = program_call(words)
        if arguments is not None:
            parsed(arguments)
        elif words[:2] == ["python", "-m"]:
            assert (ROOT / (words[2].replace(".", "/") + ".py")).is_file(), words
        elif words[0] == "python":
            assert (ROOT / words[1]).is_file(), words
        elif words[0] == "make":
            rules = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
            assert {word for word in words[1:] if "=" not in word} <= set(rules), words


def parsed(arguments):
    """Parse a command line as the program does, without running it."""
    command = typer.main.get_command(app)
    context = command.make_context("saliency", list(arguments), resilient_parsing=False)
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with what the how-to's call my-model, pretrained and reviews.csv."""
    folder = tmp_path_factory.mktemp("how-to")
    model, lm_head = save_tiny_bert(folder)
    Path(model).rename(folder / "my-model")
    Path(lm_head).rename(folder / "pretrained")
    texts = [
        "the film was good people",
        "a dull plot and a bad actor",
        "people say the plot was nice",
        "not good at all",
        "the bright actor was good",
    ]
    rows = [(f"{texts[n % 5]} {'nice ' * (n % 7)}".strip(), n % 3, "EU") for n in range(60)]
    pd.DataFrame(rows, columns=["text", "label", "region"]).to_csv(
        folder / "reviews.csv", index=False
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", ["audit-a-csv", "find-a-shortcut", "review-errors", "share-a-finding"]
)
def test_the_commands_of_a_how_to_run(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SALIENCY_DB", raising=False)
    if not (folder / "cache" / "saliency.sqlite").is_file():
        run("audit", "my-model", "reviews.csv", "--lm-head", "pretrained", "--no-evaluate")
    found = [c for block in blocks(ROOT / f"docs/how-to/{page}.md", "sh") for c in commands(block)]
    assert len(found) > 5
    for words in found:
        run(*program_call(words))


def run(*arguments):
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, (arguments, done.exception, done.output)


def test_the_python_of_the_notebook_page_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    found = blocks(ROOT / "docs/how-to/notebooks.md", "python")
    names = {}
    for text in found:
        exec(compile(text, "notebooks.md", "exec"), names)
    assert names["result"].computed > 0
    assert len(names["words"]) > 0
    assert capsys.readouterr().out.strip().split("\n")[-1].startswith("Filter, character 1")
    assert names["example"]["saliency"]["predicted"].shape == (4, len(names["example"]["words"]))


def test_every_page_of_the_dashboard_is_explained():
    dashboard = (ROOT / "dashboard.py").read_text("utf-8")
    titles = set(re.findall(r'st\.Page\(.+title="([^"]+)"', dashboard))
    assert len(titles) > 7
    for page in (ROOT / "docs/how-to/read-the-pages.md", ROOT / "README.md"):
        text = page.read_text("utf-8")
        assert {
            title for title in titles if f"**{title}**" not in text and f"## {title}" not in text
        } == set()


def test_the_package_needs_what_is_pinned_for_it():
    def names(lines):
        return {re.split(r"[\[>=<]", line)[0] for line in lines}

    pinned = re.findall(
        r"^.*saliency-core.*$", (ROOT / "requirements.txt").read_text("utf-8"), re.M
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert names(project["dependencies"]) == names(pinned)
