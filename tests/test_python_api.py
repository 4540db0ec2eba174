"""What a notebook or a script of one's own uses."""

import subprocess
import sys
import sysconfig
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest

from saliency_core import open_store, show_example, suspects, word_table
from saliency_core.errors import UserError
from saliency_core.store import open_writer
from tests.support.paths import ROOT
from tests.support.payloads import PAYLOADS
from tests.support.store_made_up import LABELS, LAYERS, example, write_all


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("api") / "a.sqlite"
    rows = [example(n) for n in range(40)]
    rows += [replace(example(n), id=f"evil {n}", text=text) for n, text in enumerate(PAYLOADS, 40)]
    rows += [example(90, "people here", "a nice pair"), example(91, "")]
    with open_writer(path) as writer:
        write_all(writer, rows)
    return open_store(path)


def in_a_process_of_its_own(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()


def test_importing_the_package_loads_neither_torch_nor_transformers():
    loaded = "sorted({'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules))"
    assert in_a_process_of_its_own(f"import saliency_core, sys; print({loaded})") == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", ["", "import saliency_core.pipeline.run_audit", "import saliency_core.cli"]
)
def test_audit_is_the_function_whatever_was_imported_before(first):
    code = (
        f"{first}\nfrom saliency_core import audit\n"
        "from saliency_core.pipeline.options import AuditOptions\n"
        "from saliency_core import audit as again\nprint(callable(audit) and audit is again)"
    )
    assert in_a_process_of_its_own(code) == "True"


def test_an_unknown_name_is_an_attribute_error():
    import saliency_core

    with pytest.raises(AttributeError, match="has no attribute 'adit'"):
        saliency_core.adit  # noqa: B018


def test_a_store_answers_with_frames(store):
    answers = {
        "examples": store.run().filter("wrong").examples(limit=3),
        "words": word_table(store.run().filter("right"), minimum=2),
        "layers": store.run().layers(),
        "suspects": suspects(store.run(), layer=1)[0],
    }
    assert all(isinstance(frame, pd.DataFrame) and len(frame) for frame in answers.values())
    assert {"id", "text", "gold", "predicted", "confidence"} <= {*answers["examples"]}
    assert {"word", "class", "mean_share", "low", "high"} <= {*answers["words"]}
    assert answers["layers"]["layer"].tolist() == list(range(LAYERS + 1))
    assert {"feature", "class", "assessment", "p_association"} <= {*answers["suspects"]}


class Seen(HTMLParser):
    """Collects tags, attributes and the text a reader sees."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, [name for name, _ in attrs]))

    def handle_data(self, data):
        self.texts.append(data)


def test_an_example_paints_itself_and_nothing_in_it_is_live(store):
    for number, payload in enumerate(PAYLOADS, 40):
        seen = Seen(show_example(store.run(), f"evil {number}")._repr_html_())
        assert {tag for tag, _ in seen.tags} <= {"style", "div", "small", "p", "span"}
        assert {name for _, names in seen.tags for name in names} <= {"class", "title", "dir"}
        assert payload in "".join(seen.texts)


def test_an_example_holds_its_words_as_the_store_has_them(store):
    shown = show_example(store.run(), "id-3", layer=1)
    (words,) = store.run().top_words([store.run().position_of("id-3")], 1)
    assert shown.frame().to_dict("records") == [
        {name: word[name] for name in ("word", "start", "end", "side", "score", "share")}
        for word in words
    ]
    best = max(words, key=lambda word: word["score"])
    row = store.run().example("id-3")
    assert repr(shown).startswith(f"<id-3: {row['gold']} → {row['predicted']}, confidence 0.")
    assert f"layer 1; {best['word']} {best['score']:+.2f}" in repr(shown)
    assert row["predicted"] in LABELS


def test_pairs_cut_texts_and_failures_show_themselves(store):
    pair = "".join(Seen(show_example(store.run(), 90)._repr_html_()).texts)
    assert pair.endswith("people herea nice pair")
    whole = show_example(store.run(), 3)
    assert "not read by the model" not in replace(whole, words=[])._repr_html_()
    cut = replace(whole, example={**whole.example, "chars_seen": 3}, words=[])
    assert "not read by the model" in cut._repr_html_()
    failed = show_example(store.run(), 91)
    assert failed.frame().empty
    assert (
        repr(failed) == f"<{store.run().example(91)['id']}: {store.run().example(91)['failure']}>"
    )


def test_what_is_not_there_says_so(store):
    with pytest.raises(UserError, match="Run 1 has no audited example 'nobody'"):
        show_example(store.run(), "nobody")
    with pytest.raises(UserError, match="no layer 9"):
        show_example(store.run(), 1, layer=9)


@pytest.mark.slow
def test_the_wheel_holds_the_command_the_dashboard_and_every_module(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split("\n")
    names = [name for name in listed if (ROOT / name).is_file()]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = "from setuptools.build_meta import build_wheel; build_wheel('wheel')"
    (source / "wheel").mkdir()
    subprocess.run([sys.executable, "-c", build], check=True, capture_output=True, cwd=source)
    (wheel,) = (source / "wheel").glob("*.whl")
    with ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    expected = {name for name in names if name.startswith("saliency_core/")}
    outside = [name for name in names if name.startswith("app_pages/") or name == "dashboard.py"]
    outside += ["dashboard_server.py", ".streamlit/config.toml"]
    expected |= {f"saliency_core_dashboard/{name}" for name in outside}
    assert expected <= packed
    tops = {name.partition("/")[0] for name in packed if ".dist-info" not in name}
    assert tops == {"saliency_core", "saliency_core_dashboard"}
    (entry,) = (tmp_path / "site").glob("*.dist-info/entry_points.txt")
    assert "saliency = saliency_core.cli:main" in entry.read_text()
    code = "from saliency_core.server.launch import _dashboard_folder as f; print(f())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path / "site",
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": sysconfig.get_path("scripts")},
    ).stdout.strip()
    assert Path(found) == tmp_path / "site" / "saliency_core_dashboard"
