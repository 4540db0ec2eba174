import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_core.errors import UserError
from saliency_core.pipeline.run_audit import audit as run_audit
from saliency_core.store import (
    Edit,
    annotate,
    open_store,
    open_writer,
    save_quality,
    save_slice,
    set_verdict,
)
from saliency_core.store.query import parser
from tests.support.small_audit import options, write_csv
from tests.support.store_made_up import (
    LABELS,
    LAYERS,
    WORDS,
    audit,
    coherence_of,
    example,
    gold_of,
    write_all,
)
from tests.support.tiny_bert import save_tiny_bert

N = 60
RECOMMENDED = 2


def made_up_rows():
    rows = [example(position) for position in range(N)]
    rows[3] = dataclasses.replace(rows[3], text="")
    rows[4] = dataclasses.replace(rows[4], label=None)
    rows[5] = dataclasses.replace(rows[5], text='the nice people said "are nice"', pair="bad movie")
    return rows


def made_up_quality(n=N):
    draw = np.random.default_rng(7)
    return {
        "label_quality": np.where(draw.random(n) < 0.1, np.nan, draw.random(n)).astype(np.float32),
        "label_issue": draw.random(n) < 0.2,
        "duplicate": draw.integers(-1, 3, n),
        "duplicate_conflict": draw.random(n) < 0.2,
        "in_train": draw.integers(0, 3, n),
    }


ANNOTATED = {
    Edit("label", "positive"): range(0, 30, 2),
    Edit("right"): range(30, 40),
    Edit("skipped"): range(25, 35),
    Edit("note", "why?"): range(10, 20),
    Edit("tag", "odd one"): range(5, 15),
    Edit("untag", "odd one"): range(12, 14),
}
"""What is done to which examples; a skip leaves what was decided before."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("slices") / "store.sqlite"
    with open_writer(path) as writer:
        run, _ = write_all(writer, made_up_rows())
    save_quality(path, run, made_up_quality())
    save_slice(path, "hard", "wrong confidence>0.8")
    save_slice(path, "not EU", "-meta.region:EU")
    save_slice(path, "nested", 'slice:hard slice:"not EU"')
    set_verdict(path, run, "people", "positive", "spurious")
    set_verdict(path, run, "nice", "negative", "spurious")
    set_verdict(path, run, "are", "negative", "genuine")
    for edit, part in ANNOTATED.items():
        annotate(path, run, [edit], ids=[f"id-{number}" for number in part])
    return open_store(path)


@pytest.fixture(scope="module")
def frame():
    """The same examples as a plain table, computed from what the store was given."""
    rows = []
    for row in made_up_rows():
        audited = audit(row, gold_of(row))
        words = [word.lower() for word in audited.words]
        salient = {}
        for layer in range(LAYERS + 1):
            if audited.saliency:
                scores = np.bincount(
                    audited.word_of_token, audited.saliency[0].scores[layer].astype("f8")
                )
                best = sorted(range(len(scores)), key=lambda w, s=scores: (-np.float32(s[w]), w))[
                    :3
                ]
                salient[layer] = {words[w] for w in best if scores[w] > 0}
            else:
                salient[layer] = set()
        gold = None if audited.gold is None else LABELS[audited.gold]
        predicted = None if audited.predicted is None else LABELS[audited.predicted]
        probabilities = np.sort(audited.probabilities)[::-1]
        failed = audited.failure is not None
        rows.append(
            {
                "position": row.position,
                "annotated": row.position,
                "id": row.id,
                "gold": gold,
                "predicted": predicted,
                "confidence": np.nan if failed else float(probabilities[0]),
                "margin": np.nan if failed else float(probabilities[0] - probabilities[1]),
                "length": len(audited.token_ids),
                "failed": failed,
                "truncated": audited.chars_seen < audited.chars_total,
                "coherence": float(
                    np.float16(coherence_of(np.array([row.position]))[RECOMMENDED, 0])
                ),
                "words": set(words),
                "salient": salient,
                "metadata": row.metadata,
                "sequence": [w for w in words if w.isalnum()],
            }
        )
    return pd.DataFrame(rows).assign(**made_up_quality())


def naive_phrase(frame, phrase):
    wanted = phrase.lower().split()
    return frame["sequence"].map(
        lambda words: any(
            words[i : i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1)
        )
    )


def naive_flag(frame, flag):
    both = frame["gold"].notna() & frame["predicted"].notna()
    # Nobody annotated the real audit.
    numbers = frame.get("annotated", pd.Series(-1, frame.index))
    return {
        "wrong": both & (frame["gold"] != frame["predicted"]),
        "right": both & (frame["gold"] == frame["predicted"]),
        "truncated": frame["truncated"],
        "failed": frame["failed"],
        "label_issue": frame["label_issue"],
        "duplicate": frame["duplicate"] != -1,
        "duplicate_conflict": frame["duplicate_conflict"],
        "in_train": frame["in_train"] > 0,
        "reviewed": numbers.isin([*range(0, 30, 2), *range(30, 40)]),
        "relabelled": numbers.isin(range(0, 30, 2)) & (frame["gold"] != "positive"),
        "note": numbers.isin(range(10, 20)),
    }[flag]


COMPARE = {
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ":": lambda a, b: a == b,
    "=": lambda a, b: a == b,
}


def flags():
    return st.sampled_from(parser.FLAGS).map(
        lambda flag: (flag, lambda frame: naive_flag(frame, flag))
    )


def labels():
    return st.tuples(
        st.sampled_from(["gold", "predicted"]), st.lists(st.sampled_from(LABELS), min_size=1)
    ).map(
        lambda t: (
            f"{t[0]}:{','.join(map(parser.quote, t[1]))}",
            lambda frame: frame[t[0]].isin(t[1]),
        )
    )


def numbers():
    return st.tuples(
        st.sampled_from(parser.NUMBERS),
        st.sampled_from(parser.OPERATORS),
        st.one_of(st.integers(-1, 12), st.floats(-1, 1).map(lambda x: round(x, 3))),
    ).map(lambda t: (f"{t[0]}{t[1]}{t[2]}", lambda frame: COMPARE[t[1]](frame[t[0]], t[2])))


def words():
    return st.lists(st.sampled_from([*WORDS, "THE", "zebra"]), min_size=1, max_size=2).map(
        lambda ws: (
            f"word:{','.join(map(parser.quote, ws))}",
            lambda frame: frame["words"].map(lambda held: any(w.lower() in held for w in ws)),
        )
    )


def salient():
    return st.tuples(
        st.sampled_from(["people", "Nice", "the", "x", "good", "zebra"]),
        st.one_of(st.none(), st.integers(0, LAYERS)),
    ).map(
        lambda t: (
            f"salient:{t[0]}" + ("" if t[1] is None else f"@{t[1]}"),
            lambda frame: frame["salient"].map(
                lambda held: t[0].lower() in held[RECOMMENDED if t[1] is None else t[1]]
            ),
        )
    )


def metadata():
    texts = st.sampled_from(["EU", "US", "quo'te", "2003", "true", "nowhere"])
    keys = st.sampled_from(["region", "year", "odd key"])

    def equal(value, text):
        if value is None:
            return False
        return (str(value).lower() if isinstance(value, bool) else str(value)) == text

    equals = st.tuples(keys, texts).map(
        lambda t: (
            f"meta.{parser.quote(t[0])}:{t[1]}",
            lambda frame: frame["metadata"].map(lambda meta: equal(meta[t[0]], t[1])),
        )
    )
    compares = st.tuples(
        st.sampled_from(["year", "score"]),
        st.sampled_from([">", "<", ">=", "<="]),
        st.sampled_from([2003, 2004.5, 0, -0.3]),
    ).map(
        lambda t: (
            f"meta.{t[0]}{t[1]}{t[2]}",
            lambda frame: frame["metadata"].map(lambda meta: COMPARE[t[1]](meta[t[0]], t[2])),
        )
    )
    return st.one_of(equals, compares)


def others():
    hard = lambda f: naive_flag(f, "wrong") & (f["confidence"] > 0.8)  # noqa: E731
    not_eu = lambda f: ~f["metadata"].map(lambda meta: meta["region"] == "EU")  # noqa: E731
    has = lambda f, word: f["words"].map(lambda held: word in held)  # noqa: E731
    return st.sampled_from(
        [
            ("id:id-7,id-9", lambda f: f["id"].isin(["id-7", "id-9"])),
            ("slice:hard", hard),
            ('slice:"not EU"', not_eu),
            ("slice:nested", lambda f: hard(f) & not_eu(f)),
            (
                "verdict:spurious",
                lambda f: (
                    (has(f, "people") & (f["predicted"] == "positive"))
                    | (has(f, "nice") & (f["predicted"] == "negative"))
                ),
            ),
            ("verdict:genuine,unsure", lambda f: has(f, "are") & (f["predicted"] == "negative")),
            ('tag:"odd one"', lambda f: f["position"].isin([*range(5, 12), 14])),
            ('"people are"', lambda f: naive_phrase(f, "people are")),
            ('"nice people"', lambda f: naive_phrase(f, "nice people")),
            ('"THE"', lambda f: naive_phrase(f, "the")),
        ]
    )


TERMS = st.one_of(flags(), labels(), numbers(), words(), salient(), metadata(), others())


@given(st.lists(st.tuples(TERMS, st.booleans()), max_size=4), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_combination_agrees_with_pandas(store, frame, terms, with_and):
    expected = pd.Series(True, index=frame.index)
    parts = []
    for (text, select), negated in terms:
        chosen = select(frame).astype(bool)
        expected &= ~chosen if negated else chosen
        parts.append(("-" if negated else "") + text)
    where = (" AND " if with_and else "  ").join(parts)
    found = store.run().filter(where).positions().tolist()
    assert found == frame["position"][expected].tolist(), where
    assert store.run().filter(where).count() == len(found)
    assert store.run().filter(where).examples()["example"].tolist() == found


@given(st.text(max_size=30))
@settings(max_examples=400, deadline=None)
def test_any_line_selects_or_is_refused_in_one_sentence(store, line):
    try:
        count = store.run().filter(line).count()
    except UserError as error:
        assert str(error).startswith("Slice, character ")
    else:
        assert 0 <= count <= N


@given(st.text(min_size=1, max_size=20).filter(lambda text: text.strip()))
@settings(deadline=None)
def test_a_quoted_value_is_that_value(text):
    (term,) = parser.parse(f"word:{parser.quote(text)}")
    assert [value.text for value in term.values] == [text]


ERRORS = [
    ("wrnog", 1, "wrong"),
    ("right confidense>0.9", 7, "confidence>0.9"),
    ("-fialed", 2, "failed"),
    ("gold:postive", 6, "positive"),
    ("gold:positive,negativ", 15, "negative"),
    ('predicted:"not sur"', 11, '"not sure"'),
    ("salient:people@9", 16, "salient:people@3"),
    ("meta.regoin:EU", 6, "region"),
    ("verdict:spurous", 9, "spurious"),
    ("slice:hrad", 7, "hard"),
    ("wrod:people", 1, "word:people"),
    ("word>people", 5, "word:"),
    ('tag:"odd on"', 5, '"odd one"'),
]


@pytest.mark.parametrize(("line", "place", "near"), ERRORS)
def test_errors_show_the_place_and_the_nearest_valid_term(store, line, place, near):
    with pytest.raises(UserError) as caught:
        store.run().filter(line).count()
    message = str(caught.value)
    assert message.startswith(f"Slice, character {place}: ")
    assert f"Nearest valid: {near}. Terms: " in message


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("confidence>x", "character 12: 'confidence>x' needs a number."),
        ('"no end', "character 1: '\"no end' has a quote that does not end."),
        ("right gold:", "character 12: 'gold:' lacks a value."),
        ("word:a,,b", "character 8: 'word:a,,b' lacks a value."),
        ("wrong:yes", "character 1: 'wrong:yes' takes no value."),
        ('"?!"', "character 1: '\"?!\"' holds no word to look for."),
        ("meta.year>a", "character 11: 'meta.year>a' needs a number."),
    ],
)
def test_other_errors(store, line, sentence):
    with pytest.raises(UserError) as caught:
        store.run().filter(line).count()
    assert sentence in str(caught.value)


def test_a_slice_that_refers_to_itself_is_refused(tmp_path):
    path = tmp_path / "x.sqlite"
    with open_writer(path) as writer:
        write_all(writer, made_up_rows()[:10])
    save_slice(path, "a", "wrong")
    save_slice(path, "b", "slice:a")
    save_slice(path, "a", "slice:b")
    with pytest.raises(UserError, match="refers to itself"):
        open_store(path).run().filter("slice:a").count()


@pytest.mark.parametrize(
    "where",
    ["wrong", "-wrong", "gold:negative,positive", ' -meta.region:"quo\'te"', "confidence>0.5"],
)
def test_the_rest_of_a_term_is_all_others(store, where):
    rest = parser.rest_of(where)
    assert np.array_equal(store.run().filter(rest).mask(), ~store.run().filter(where).mask())
    assert (
        store.run().filter(parser.rest_of(rest)).mask().sum() == store.run().filter(where).count()
    )


def test_the_rest_of_no_or_several_terms_is_not_one_line():
    assert parser.rest_of("") is None
    assert parser.rest_of("wrong gold:negative") is None


# The same on an audit by a model


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Return a store that a real audit wrote, and what it says of each example as a table."""
    folder = tmp_path_factory.mktemp("audited")
    model, head = save_tiny_bert(folder)[:2]
    reviews = write_csv(folder / "reviews.csv", rows=90)
    run_audit(model, reviews, db=folder / "a.sqlite", options=options(head))
    store = open_store(folder / "a.sqlite")
    rows = [naive_row(store, position) for position in range(90)]
    save_quality(store.path, 1, made_up_quality(90))
    return store, pd.DataFrame(rows).assign(**made_up_quality(90))


def naive_row(store, position):
    found = store.run().example(position)
    words = [word.lower() for word in found["words"]]
    scores = found["saliency"]["predicted"]
    salient = {}
    for layer in range(len(scores)):
        sums = np.bincount(found["word_of_token"], scores[layer].astype("f8"))
        best = sorted(range(len(sums)), key=lambda w, s=sums: (-np.float32(s[w]), w))[:3]
        salient[layer] = {words[w] for w in best if sums[w] > 0}
    probabilities = np.sort(found["probabilities"])[::-1]
    return {
        "position": position,
        "gold": found["gold"],
        "predicted": found["predicted"],
        "confidence": float(probabilities[0]),
        "margin": float(probabilities[0] - probabilities[1]),
        "length": len(found["tokens"]),
        "failed": found["failure"] is not None,
        "truncated": found["chars_seen"] < found["chars_total"],
        "coherence": float(found["coherence_by_layer"][store.run().recommended]),
        "words": set(words),
        "salient": salient,
        "metadata": found["metadata"],
        "sequence": found["text"].lower().split(),
    }


@pytest.mark.slow
@given(st.data())
@settings(max_examples=120, deadline=None)
def test_any_combination_agrees_with_pandas_on_a_real_audit(audited, data):
    store, frame = audited
    names, layers = store.run().label_names, store.run().model.layers
    said = st.sampled_from(["good", "film", "Scene", "unhappy", "zebra"])
    held = said.map(lambda w: (f"word:{w}", lambda f: f["words"].map(lambda ws: w.lower() in ws)))
    salient = st.tuples(said, st.integers(0, layers)).map(
        lambda t: (
            f"salient:{t[0]}@{t[1]}",
            lambda f: f["salient"].map(lambda ws: t[0].lower() in ws[t[1]]),
        )
    )
    label = st.tuples(st.sampled_from(["gold", "predicted"]), st.sampled_from(names)).map(
        lambda t: (f"{t[0]}:{parser.quote(t[1])}", lambda f: f[t[0]] == t[1])
    )
    phrase = st.sampled_from(["the film", "was bad", "film the"]).map(
        lambda p: (f'"{p}"', lambda f: naive_phrase(f, p))
    )
    source = st.sampled_from(["site 0", "site 1"]).map(
        lambda s: (f'meta.source:"{s}"', lambda f: f["metadata"].map(lambda m: m["source"] == s))
    )
    term = st.one_of(flags(), numbers(), held, salient, label, phrase, source)
    terms = data.draw(st.lists(st.tuples(term, st.booleans()), max_size=3))
    expected = pd.Series(True, index=frame.index)
    for (_, select), negated in terms:
        chosen = select(frame).astype(bool)
        expected &= ~chosen if negated else chosen
    where = " ".join(("-" if negated else "") + text for (text, _), negated in terms)
    assert store.run().filter(where).positions().tolist() == frame["position"][expected].tolist(), (
        where
    )
