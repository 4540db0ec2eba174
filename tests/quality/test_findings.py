"""The table of findings, the command that makes it and the exit status of a build."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from saliency_core.cli import app
from saliency_core.data.dataset import load_examples
from saliency_core.errors import UserError
from saliency_core.quality.findings import check_data, issue_rows, kept_data_quality
from saliency_core.quality.highlights import data_findings
from saliency_core.quality.severity import grade, worst
from saliency_core.records import SEVERITIES
from saliency_core.store import open_store, open_writer
from tests.support.store_made_up import LABELS, MODEL, example, write_all

TWICE = "this very text stands in the dataset twice with another label"


@pytest.fixture
def run(tmp_path):
    rows = [example(n) for n in range(60)]
    rows[10] = dataclasses.replace(rows[10], text=TWICE, label=LABELS[0])
    rows[20] = dataclasses.replace(rows[20], text=TWICE.upper(), label=LABELS[1])
    rows[30] = dataclasses.replace(rows[30], text="a text with <br /> in it")
    with open_writer(tmp_path / "audit.sqlite") as writer:
        write_all(writer, rows)
    return open_store(tmp_path / "audit.sqlite").run()


def write_train(folder, texts):
    path = folder / "train.jsonl"
    rows = [{"text": text, "label": LABELS[n % 3]} for n, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_findings_count_the_examples_their_filters_name(run, tmp_path):
    train = write_train(tmp_path, [TWICE, *(f"another text number {n}" for n in range(20))])
    found = check_data(run, train=load_examples(str(train), id_column="none"))
    by_check = {finding.check: finding for finding in found.findings}
    assert by_check["duplicate_conflict"].severity == "high"
    assert by_check["in_train"].count == 2
    assert by_check["html"].count == 1
    for finding in found.findings:
        if finding.filter:
            assert run.filter(finding.filter).count() == finding.count, finding
    order = [SEVERITIES.index(finding.severity) for finding in found.findings]
    assert order == sorted(order)
    assert found.facts["train"]["exact"] == 2


def test_what_was_found_is_kept_until_the_run_changes(run, tmp_path):
    assert kept_data_quality(run) is None
    train = load_examples(str(write_train(tmp_path, [TWICE])), id_column="none")
    found = check_data(run, train=train)
    assert kept_data_quality(run).as_json(run) == found.as_json(run)
    # Without training data, what is known of them stays.
    assert check_data(run).facts["train"] == found.facts["train"]
    with open_writer(run.store.path) as writer:
        write_all(writer, [example(n) for n in range(61)], finish=False)
    assert kept_data_quality(run) is None


def test_the_overview_says_the_same(run, tmp_path):
    assert data_findings(run) == []
    train = load_examples(str(write_train(tmp_path, [TWICE])), id_column="none")
    facts = check_data(run, train=train).facts
    said = {finding.where: finding.sentence for finding in data_findings(run)}
    assert f"{facts['label_issues']['estimated']:,} labels look wrong" in said["label_issue"]
    assert f"{facts['duplicates']['in_conflict']} duplicates" in said["duplicate_conflict"]
    assert "2 texts (3.3%) also occur in the training data" in said["in_train"]


def test_issue_rows_are_the_least_plausible_first(run):
    check_data(run)
    rows = issue_rows(run.filter("label_issue"))
    assert rows["quality"].is_monotonic_increasing
    assert (rows["likely"] != rows["gold"]).all() and rows["likely"].notna().all()
    assert np.allclose(
        rows["quality"], np.sort(run.quality("label_quality")[run.filter("label_issue").mask()])
    )


def test_a_run_without_labels_is_checked_for_the_rest(tmp_path):
    rows = [dataclasses.replace(example(n), label=None) for n in range(12)]
    with open_writer(tmp_path / "a.sqlite") as writer:
        write_all(writer, rows)
    run = open_store(tmp_path / "a.sqlite").run()
    found = check_data(run)
    assert found.as_json(run)["label_issues"] is None
    assert "not checked" in found.findings[-1].message or any(
        "not checked" in finding.message for finding in found.findings
    )


def command(run, *arguments):
    done = CliRunner().invoke(
        app, ["data-quality", "--db", str(run.store.path), *arguments], catch_exceptions=True
    )
    return done


def test_the_exit_status_is_that_of_the_worst_finding(run):
    assert command(run, "--quiet").exit_code == 0
    done = command(run, "--fail-on", "high", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["train"] is None and found["run"] == 1
    assert ["id-10", "id-20"] in [group["ids"] for group in found["duplicates"]["groups"]]


def test_a_clean_run_passes(tmp_path):
    path = tmp_path / "a.sqlite"
    words = [f"word{n}" for n in range(200)]
    draw = np.random.default_rng(0)
    rows = [
        dataclasses.replace(example(n, " ".join(draw.choice(words, 2))), label=None, metadata={})
        for n in range(30)
    ]
    with open_writer(path) as writer:
        write_all(writer, rows)
    assert worst(check_data(open_store(path).run()).findings) == "ok"
    assert command(open_store(path).run(), "--fail-on", "low", "-q").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--train", "nowhere.csv"], "nowhere.csv"),
        (["--threshold", "2"], "between 0.3 and 1"),
    ],
)
def test_what_can_not_be_used_is_told(run, arguments, said):
    done = command(run, *arguments)
    assert isinstance(done.exception, UserError) and said in str(done.exception)


def test_training_labels_that_nobody_knows_are_told(run, tmp_path):
    train = tmp_path / "train.jsonl"
    train.write_text('{"text": "a b", "label": "wonderful"}\n{"text": "c d", "label": "awful"}\n')
    done = command(run, "--train", str(train))
    assert isinstance(done.exception, UserError) and "wonderful" in str(done.exception)


def test_grades():
    assert [grade(value, 0.2, 0.05) for value in (0, 0.01, 0.05, 0.2)] == [
        "ok", "low", "medium", "high",
    ]  # fmt: skip


@pytest.mark.parametrize(("task", "labels"), [("multi-label", LABELS), ("regression", ("score",))])
def test_what_has_no_single_labels_is_checked_for_the_rest(tmp_path, task, labels):
    path = tmp_path / "a.sqlite"
    model = dataclasses.replace(MODEL, task=task, label_names=labels)
    rows = [dataclasses.replace(example(n, TWICE), label=None) for n in range(6)]
    with open_writer(path) as writer:
        write_all(writer, rows, model=model)
    run = open_store(path).run()
    found = check_data(run)
    assert found.facts["label_issues"] is None and found.facts["duplicates"]["examples"] == 6
    assert found.as_json(run)["duplicates"]["groups"][0]["labels"] == []
    assert data_findings(run) == []
