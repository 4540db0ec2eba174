"""docs/cli.md against the program: commands, options, and the keys of every JSON object."""

import json
import re

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from saliency_core import __version__
from saliency_core.cli import app
from saliency_core.pipeline.options import AuditOptions
from saliency_core.store.query.terms import FLAGS, JOINS, NAMED, NUMBERS, TABLE
from tests.support.paths import ROOT
from tests.support.small_audit import write_csv
from tests.support.tiny_bert import save_tiny_bert
from tests.support.word_model import compared_store

PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
NO_COMMANDS = {"The filter language"}


def commands(command=None, path=""):
    """Return name -> command, groups opened."""
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        return {path: command}
    found = {}
    for name, inner in command.commands.items():
        if inner.hidden:
            continue
        found |= commands(inner, f"{path} {name}".strip())
    return found


def sections():
    """Return heading -> text of the page's sections."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:]
    return {
        heading: text
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
        if heading not in NO_COMMANDS
    }


@pytest.mark.parametrize("command", ["", "audit", "slices list"])
def test_the_short_form_of_help_is_the_long_one(command):
    short, long = (CliRunner().invoke(app, [*command.split(), name]) for name in ("-h", "--help"))
    assert short.exit_code == 0 and short.output == long.output


def test_the_version_is_the_package_s():
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"saliency {__version__}\n")


def test_the_page_has_every_term_of_the_filter_language():
    _, text = PAGE.split("## The filter language")
    written = re.findall(r"`([^`]+)`", text.replace("\\|", "|"))
    for terms, _ in TABLE:
        for term in terms.split(", "):
            assert term in written, term
    for lines, _ in JOINS[:-1]:
        assert lines.split(", ")[0] in written, lines
    named = {name for found in written for name in re.findall(r"[a-z_]+", found)}
    assert {*FLAGS, *NAMED, *NUMBERS} <= named


COMMANDS = commands()
SECTIONS = {
    next((name for name in COMMANDS if re.fullmatch(rf"{name}( [A-Z. ]+)?", heading)), heading): (
        heading,
        text,
    )
    for heading, text in sections().items()
}


def test_every_option_of_an_audit_is_one_of_its_options():
    given = {parameter.name for parameter in COMMANDS["audit"].params}
    own = {"model", "dataset", "database", "no_header", "no_evaluate", "quiet", "as_json"}
    assert given - own == set(AuditOptions.__dataclass_fields__) - {"header", "evaluate"}


def test_every_command_has_its_section_and_every_section_its_command():
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_stands_in_its_section_and_no_other(name):
    heading, text = SECTIONS[name]
    options = [p for p in COMMANDS[name].params if p.param_type_name == "option"]
    longs = {opt for option in options for opt in option.opts if opt.startswith("--")}
    shorts = {opt for option in options for opt in option.opts if not opt.startswith("--")}
    cells = [line.split("|")[1] for line in text.split("\n") if line.startswith("| `")]
    written = {found for cell in cells for found in re.findall(r"(?<!\w)-{1,2}[a-z-]+", cell)}
    assert {one for one in written if one.startswith("--")} == longs - {"--help"}
    assert {one for one in written if not one.startswith("--")} <= shorts
    arguments = [
        (p.metavar if (p.metavar or "").isalpha() else p.name).lower()
        for p in COMMANDS[name].params
        if p.param_type_name == "argument"
    ]
    assert heading.removeprefix(name).replace("...", "").lower().split() == arguments


def test_defaults_are_those_of_the_program():
    for name, command in COMMANDS.items():
        for option in command.params:
            if isinstance(option.default, (int, float)) and not isinstance(option.default, bool):
                row = next(
                    (
                        x
                        for x in SECTIONS[name][1].split("\n")
                        if x.startswith(f"| `{option.opts[0]} ")
                    ),
                    "",
                )
                said = re.search(r"default:? ([\d.]+)", row)
                assert said is None or float(said[1].rstrip(".")) == option.default, (name, row)


def test_a_slice_of_every_term_of_the_table_can_be_read(audited):
    runner, _ = audited
    runner("slices", "save", "NAME", "wrong")
    table = PAGE.partition("## The filter language")[2].replace("\\|", "OR")
    rows = re.findall(r"^\| (`.+?) \| (.+) \|$", table, re.M)
    terms = [
        term
        for row, meaning in rows
        for term in row.split("`")[1::2]
        if "data-quality" not in meaning
        and term != "tag:NAME"
        and not re.search(r"\b[ABC]\b", term)
    ]
    assert len(terms) >= 20
    names = {"LABEL": "LABEL_0", "region:EU": "source:x", "@5": "@2", "meta.year": "meta.number"}
    names |= {"city": "source", "kindly": "film"}
    for term in terms:
        for old, new in names.items():
            term = term.replace(old, new)
        runner("errors", "--where", term)


# JSON


def schema(text):
    """Parse `{"a","b":[{"c"}]}` into {"a": None, "b": [{"c": None}]}."""
    tokens = re.findall(r'"[^"]+"|[{}\[\],:]', text)

    def value():
        token = tokens.pop(0)
        if token == "{":
            found = {}
            while tokens[0] != "}":
                key = tokens.pop(0).strip('"')
                found[key] = None
                if tokens[0] == ":":
                    tokens.pop(0)
                    found[key] = value()
                if tokens[0] == ",":
                    tokens.pop(0)
            tokens.pop(0)
            return found
        assert token == "[", text
        found = [value()]
        tokens.pop(0)
        return found

    return value()


def documented(name):
    """Return the schemas of a command's JSON objects."""
    row = next(line for line in SECTIONS[name][1].split("\n") if line.startswith("| `--json`"))
    return [schema(span) for span in re.findall(r"`(\{.+?\})`", row)]


def holds(value, wanted, place="$"):
    """Check that a value has the keys of a schema; more may stand beside them."""
    if isinstance(wanted, dict) and value is not None:
        assert isinstance(value, dict), (place, value)
        missing = set(wanted) - set(value)
        assert not missing, f"{place} lacks {missing}; it has {sorted(value)}"
        for key, inner in wanted.items():
            holds(value[key], inner, f"{place}.{key}")
    elif isinstance(wanted, list):
        assert isinstance(value, list), (place, value)
        for number, one in enumerate(value[:3]):
            holds(one, wanted[0], f"{place}[{number}]")


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Return a function that runs a command on a small audit and returns what it printed."""
    folder = tmp_path_factory.mktemp("reference")
    model, lm_head = save_tiny_bert(folder)
    data = write_csv(folder / "reviews.csv")
    pd.read_csv(data).assign(number=range(60)).to_csv(data, index=False)

    def run(*arguments, database=True, status=0):
        command = [str(argument) for argument in arguments]
        if database:
            command += ["--db", str(folder / "a.sqlite")]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code == status, done.output
        return done.stdout

    run("audit", model, data, "--lm-head", lm_head, "--steps", 1, "--trust-labels", "--quiet")
    run.model, run.data, run.lm_head = model, data, lm_head
    return run, folder


@pytest.mark.slow
def test_every_json_object_has_the_keys_of_the_page(audited):
    run, folder = audited
    run("slices", "save", "kept", "right", "--note", "n")
    first = json.loads(run("errors", "--limit", 1, "--json"))["rows"][0]
    word = first["words"][0]["word"]
    checked = {
        "audit": [run.model, run.data, "--lm-head", run.lm_head, "--steps", 1, "--trust-labels"],
        "runs": [],
        "info": [],
        "layers": [],
        "evaluate": ["--examples", 2],
        "errors": [],
        "words": ["--minimum", 1],
        "data-quality": ["--train", run.data],
        "suspects": ["--effect-examples", 2, "--effect-candidates", 1, "--null", 1],
        "what-if": ["--drop", word, "--limit", 3],
        "debias": [run.data, "--word", word, "-o", folder / "cleaned.csv"],
        "checks write": ["--word", word, "-o", folder / "checks.jsonl", "--per-word", 2],
        "checks run": [run.model, folder / "checks.jsonl", "--allowed", 1],
        "slices list": [],
        "slices save": ["other", "wrong"],
        "slices delete": ["other"],
        "slices discover": [],
        "slices compare": ["right", "wrong"],
        "export": ["-o", folder / "a.jsonl"],
        "report": ["-o", folder / "a.md"],
        "annotate": ["wrong", "--tag", "odd"],
        "annotations export": ["-o", folder / "notes.json"],
        "annotations import": [folder / "notes.json"],
    }
    for name, arguments in checked.items():
        printed = run(*name.split(), *arguments, "--json", database=name != "checks run")
        holds(json.loads(printed), documented(name)[1 if name == "what-if" else 0], name)
    shown = run("what-if", "the film was good", "--edited", "the film was bad", "--json")
    holds(json.loads(shown), documented("what-if")[0])
    left = {"merge", "prune", "compare"}
    with_json = {n for n, c in COMMANDS.items() if any("--json" in p.opts for p in c.params)}
    assert with_json == {*checked, *left}


def test_compare_prints_the_keys_of_the_page(tmp_path):
    store = compared_store(tmp_path / "a.sqlite")
    command = ["compare", "--db", str(store.path)]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    holds(found, documented("compare")[0])
    assert found["runs"] == [1, 2] and len(found["pairs"]) == 1
    said = CliRunner().invoke(app, [*command, "2", "1", "--where", "gold:negative"]).stdout
    assert said.startswith("control ") and "negative" in said


def test_merge_and_prune_print_the_keys_of_the_page(audited, tmp_path):
    run, folder = audited
    merged = run(
        "merge", folder / "a.sqlite", "-o", tmp_path / "b.sqlite", "--json", database=False
    )
    holds(json.loads(merged), documented("merge")[0])
    pruned = run("prune", 1, "--db", tmp_path / "b.sqlite", "--json", database=False)
    holds(json.loads(pruned), documented("prune")[0])


def test_a_line_of_an_export_has_the_keys_of_the_page(audited):
    run, folder = audited
    run("export", "--layers", "all", "-o", folder / "all.jsonl", "--quiet")
    line = json.loads((folder / "all.jsonl").read_text(encoding="utf-8").split("\n")[0])
    spans = re.findall(r"`(\{.+?\})`", SECTIONS["export"][1])
    wanted = schema(next(span for span in spans if '"chars_seen"' in span))
    words = wanted.pop("layers")["5"]
    holds(line, wanted)
    assert set(line["layers"]) == {"0", "1", "2", "3"}
    for found in line["layers"].values():
        holds(found, words)
