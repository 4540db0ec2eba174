import dataclasses
import re
import time
from operator import and_, or_

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
from saliency_core.store.query import editing, parser
from saliency_core.store.query.mistakes import FilterError
from saliency_core.store.query.terms import (
    FLAGS,
    NUMBERS,
    OPERATORS,
    ORDER,
    SPELLINGS,
    metadata_term,
    quote,
)
from saliency_core.store.query.tree import And, Term, Value, both, either, negated, text_of
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
    "!=": lambda a, b: a != b,
}
COMPARE |= {written: COMPARE[sign] for written, sign in SPELLINGS.items()}


def flags():
    return st.sampled_from(FLAGS).map(lambda flag: (flag, lambda frame: naive_flag(frame, flag)))


def labels():
    return st.tuples(
        st.sampled_from(["gold", "predicted"]), st.lists(st.sampled_from(LABELS), min_size=1)
    ).map(
        lambda t: (
            f"{t[0]}:{','.join(map(quote, t[1]))}",
            lambda frame: frame[t[0]].isin(t[1]),
        )
    )


def numbers():
    return st.tuples(
        st.sampled_from(NUMBERS),
        st.sampled_from(OPERATORS),
        st.one_of(st.integers(-1, 12), st.floats(-1, 1).map(lambda x: round(x, 3))),
    ).map(lambda t: (f"{t[0]}{t[1]}{t[2]}", lambda frame: COMPARE[t[1]](frame[t[0]], t[2])))


def words():
    return st.lists(st.sampled_from([*WORDS, "THE", "zebra"]), min_size=1, max_size=2).map(
        lambda ws: (
            f"word:{','.join(map(quote, ws))}",
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
            f"meta.{quote(t[0])}:{t[1]}",
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


NOTS = st.sampled_from(["-", "!", "not ", "NOT ", "- "])
ANDS = st.sampled_from([" ", "  ", " AND ", " and ", " & ", "&&"])
ORS = st.sampled_from([" OR ", " or ", " | ", " || "])


def bracketed(text):
    return f"({text})"


def filters(term, most=8):
    """Return a filter as people may type it, and what it says of the table."""

    def grown(inner):
        negated = st.tuples(NOTS, inner).map(
            lambda t: (t[0] + bracketed(t[1][0]), lambda f: ~t[1][1](f).astype(bool))
        )

        def joined(names, join):
            return st.tuples(names, inner, inner).map(
                lambda t: (
                    t[0].join(bracketed(text) for text, _ in t[1:]),
                    lambda f: join(t[1][1](f).astype(bool), t[2][1](f).astype(bool)),
                )
            )

        return st.one_of(negated, joined(ANDS, and_), joined(ORS, or_))

    return st.recursive(term, grown, max_leaves=most)


@given(filters(TERMS))
@settings(max_examples=300, deadline=None)
def test_any_filter_selects_what_a_plain_evaluation_of_the_rows_selects(store, frame, drawn):
    where, select = drawn
    expected = frame["position"][select(frame).astype(bool)].tolist()
    found = store.run().filter(where).positions().tolist()
    assert found == expected, where
    assert store.run().filter(where).count() == len(found)
    assert store.run().filter(where).examples()["example"].tolist() == found


@given(filters(TERMS))
@settings(max_examples=300, deadline=None)
def test_the_canonical_text_of_a_filter_is_that_filter(drawn):
    tree = parser.parse(drawn[0])
    assert parser.parse(text_of(tree)) == tree


@given(st.lists(st.tuples(TERMS, st.booleans()), max_size=4), ANDS)
@settings(max_examples=100, deadline=None)
def test_and_binds_tighter_than_or_without_brackets(store, frame, terms, joint):
    text, expected = "wrong", naive_flag(frame, "wrong")
    for (more, select), by_or in terms:
        chosen = select(frame).astype(bool)
        if by_or:
            text, expected = f"{text} OR {more}", expected | chosen
        else:
            # Of the last alternative only: the ones before it stay as they are.
            text, expected = f"({text}){joint}{more}", expected & chosen
    assert store.run().filter(text).positions().tolist() == frame["position"][expected].tolist()
    assert store.run().filter("wrong OR right gold:positive").count() == (
        store.run().filter("wrong OR (right gold:positive)").count()
    )


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
VALUES = st.lists(names.map(Value), min_size=1, max_size=3).map(tuple)
PATTERNS = names.filter(
    lambda text: not text.replace("\\\\", "").endswith("\\") and "\\/" not in text
)
ANY_TERM = st.one_of(
    st.sampled_from(FLAGS).map(Term),
    st.tuples(st.sampled_from(["gold", "predicted", "word", "salient", "slice", "id"]), VALUES).map(
        lambda t: Term(t[0], ":", t[1])
    ),
    st.tuples(
        st.sampled_from(NUMBERS), st.sampled_from([*ORDER, "="]), st.floats(allow_nan=False)
    ).map(lambda t: Term(t[0], t[1], (Value(str(t[2])),))),
    st.tuples(names, VALUES).map(lambda t: Term(f"meta.{t[0]}", ":", t[1])),
    names.filter(lambda text: any(map(str.isalnum, text))).map(
        lambda text: Term("phrase", ":", (Value(text),))
    ),
    PATTERNS.map(lambda text: Term("regex", ":", (Value(text),))),
)
TREES = st.recursive(
    ANY_TERM,
    lambda inner: st.one_of(
        inner.map(negated),
        st.lists(inner, min_size=2, max_size=4).map(both),
        st.lists(inner, min_size=2, max_size=4).map(either),
    ),
    max_leaves=12,
)


@given(TREES)
@settings(max_examples=400, deadline=None)
def test_any_tree_is_read_back_from_its_text(tree):
    assert parser.parse(text_of(tree)) == tree


def parts_of(tree):
    return tree.parts if isinstance(tree, And) else (tree,)


@given(TREES, TREES)
@settings(max_examples=100, deadline=None)
def test_filters_join_and_turn_round_without_losing_brackets(one, other):
    a, b = text_of(one), text_of(other)
    asked = parts_of(one)
    new = [part for part in parts_of(other) if part not in asked]
    assert parser.parse(editing.joined(a, b)) == both([*asked, *new])
    assert parser.parse(editing.either_of(a, b)) == either([one, other])
    assert parser.parse(editing.rest_of(a)) == negated(one)


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("confidence > 0.9", "confidence>0.9"),
        ("confidence ≥ 90%", "confidence>=90%"),
        ("confidence:>0.9", "confidence>0.9"),
        ("not wrong and !right", "-wrong -right"),
        ("NOT (wrong OR right)", "-(wrong OR right)"),
        ("wrong|right", "wrong OR right"),
        ("wrong & right or failed", "wrong right OR failed"),
        ("--wrong", "wrong"),
        ("WRONG Gold:positive", "wrong gold:positive"),
        ("people", "word:people"),
        ("people, nice", "word:people,nice"),
        ("wrong, people", "wrong OR word:people"),
        ("label : positive , negative", "gold:positive,negative"),
        ("pred:positive", "predicted:positive"),
        ("gold != positive", "-gold:positive"),
        ("gold:negative|positive", "gold:negative,positive"),
        ("id:id-1|id:id-2", "id:id-1 OR id:id-2"),
        ("region:EU year >= 2003", "meta.region:EU meta.year>=2003"),
        ('"odd key":true', 'meta."odd key":true'),
        ("phrase:nice", '"nice"'),
        ('text:"nice people"', '"nice people"'),
        ("/nice|bad/i", "/(?i)nice|bad/"),
        (r"/a\/b\d/", r"/a\/b\d/"),
        ("(((wrong)))", "wrong"),
        ("(wrong)(right)", "wrong right"),
        ("word:( word:) word:|", 'word:"(" word:")" word:"|"'),
        ("meta.region:AT&T", 'meta.region:"AT&T"'),
        ("meta.region:f(x)", 'meta.region:"f(x)"'),
        ("(meta.region:EU)", "meta.region:EU"),
        ("", ""),
    ],
)
def test_what_people_type_is_read(store, typed, canonical):
    columns = store.run().metadata_columns()
    assert text_of(parser.parse(typed, columns)) == canonical


def test_regular_expressions_match_the_text_or_its_pair(store, frame):
    run, texts = store.run(), [row.text for row in made_up_rows()]
    pairs = [row.pair or "" for row in made_up_rows()]
    for pattern in ("nice|bad", "^the", "[Mm]ovie", "don't", "東京", "x'"):
        expected = [
            position
            for position, sides in enumerate(zip(texts, pairs, strict=True))
            if any(re.search(pattern, side) for side in sides)
        ]
        assert expected
        assert run.filter(f"/{pattern}/").positions().tolist() == expected
        for more in ("id:id-5,id-9,id-12", "wrong", "-(wrong OR people)"):
            both = run.filter(f"/{pattern}/ {more}").mask()
            assert np.array_equal(both, run.filter(f"/{pattern}/").mask() & run.filter(more).mask())
            neither = run.filter(f"{more} -/{pattern}/").mask()
            assert np.array_equal(neither, run.filter(more).mask() & ~both)
    assert run.filter("/NICE/").count() == 0 < run.filter("/NICE/i").count()


def test_a_pattern_that_hangs_others_takes_no_time(tmp_path):
    with open_writer(tmp_path / "x.sqlite") as writer:
        write_all(writer, [example(0, text="x" * 1000)])
    before = time.process_time()
    assert open_store(tmp_path / "x.sqlite").run().filter("/(x+x+)+y/").count() == 0
    assert time.process_time() - before < 5


DEEP = 10_000


@pytest.mark.parametrize(
    "line",
    [
        "(" * DEEP + "wrong" + ")" * DEEP,
        "-" * DEEP + "wrong",
        "-(" * DEEP + "wrong" + ")" * DEEP,
        "(wrong OR " * DEEP + "wrong" + ")" * DEEP,
        "wrong " * DEEP,
        " OR ".join(["wrong"] * DEEP),
    ],
)
def test_ten_thousand_brackets_or_terms_select_what_one_does(store, line):
    assert store.run().filter(line).count() == store.run().filter("wrong").count()


@pytest.mark.parametrize(
    "line",
    ["(" * DEEP, ")" * DEEP, "(wrong (right OR " * DEEP + "wrong" + "))" * DEEP, '"' * (DEEP + 1)]
    + [letter * DEEP for letter in "|&,/:!"]
    + ["wrng " * DEEP, "x:y " * DEEP],
)
def test_ten_thousand_mistakes_are_one_message(store, line):
    with pytest.raises(FilterError) as caught:
        store.run().filter(line).count()
    assert 0 < len(caught.value.mistakes) <= 20
    assert len(str(caught.value)) < 20_000


@given(st.one_of(st.text(max_size=30), st.text('wrong:OR()-!,|&/"\\>= 0', max_size=30)))
@settings(max_examples=600, deadline=None)
def test_any_line_selects_or_is_refused_at_its_places(store, line):
    try:
        count = store.run().filter(line).count()
    except FilterError as error:
        assert str(error).startswith("Filter, character ")
        assert all(0 <= mistake.start < max(len(line), 1) for mistake in error.mistakes)
    else:
        assert 0 <= count <= N
        store.run().filter(line).notes()


@given(st.text(min_size=1, max_size=20))
@settings(deadline=None)
def test_a_quoted_value_is_that_value(text):
    term = parser.parse(f"word:{quote(text)}")
    assert [value.text for value in term.values] == [text]
    assert parser.parse(f"(word:{quote(text)})") == term


@given(names, names)
@settings(deadline=None)
def test_any_value_of_any_column_can_be_named(column, value):
    term = Term(f"meta.{column}", ":", (Value(value),))
    assert parser.parse(metadata_term(column, value)) == term


MISTAKES = [
    ("wrng", [(1, "wrong")]),
    ("right confidense>0.9", [(7, "confidence>0.9")]),
    ("-fialed", [(2, "failed")]),
    ("gold:postive", [(6, "positive")]),
    ("gold:positive,negativ", [(15, "negative")]),
    ('predicted:"not sur"', [(11, "not sure")]),
    ("salient:people@9", [(16, "salient:people@3")]),
    ("meta.regoin:EU", [(6, "region")]),
    ("regoin:EU", [(1, "meta.region:EU")]),
    ("verdict:spurous", [(9, "spurious")]),
    ("slice:hrad", [(7, "hard")]),
    ('tag:"odd on"', [(5, "odd one")]),
    ("wrod:people", [(1, "word:people")]),
    ("word>people", [(5, "word:people")]),
    ("class:positive", [(1, "gold:positive"), (1, "predicted:positive")]),
    ("confidence>0,9", [(12, "0.9")]),
    ("wrong:no", [(1, "-wrong")]),
    ("wrong)", [(6, "to leave ')' out")]),
    ("wrong OR", [(7, "to leave 'OR' out")]),
    ("and wrong", [(1, "to leave 'and' out")]),
    ("wrong -", [(7, "to leave '-' out")]),
    ("()", [(1, "to leave '()' out")]),
    ("(wrong", [(1, "a ')' at the end")]),
    ('"nice people', [(1, "a '\"' at the end")]),
    ("/nice", [(1, '"/nice"')]),
    ("word:nice,,bad", [(10, "to leave ',' out")]),
    ("gold:positive, gold:negative", [(14, "OR in place of the comma")]),
    ("http://people.are/nice", [(1, '"http://people.are/nice"')]),
    ("peopel", [(1, "word:people")]),
    ("people/are", [(1, '"people/are"')]),
    # Every mistake at once, each at its place.
    (
        "wrng gold:postive (confidense>0.9 OR slice:hrad",
        [
            *[(1, "wrong"), (11, "positive"), (19, "a ')' at the end")],
            *[(20, "confidence>0.9"), (44, "hard")],
        ],
    ),
]


@pytest.mark.parametrize(("line", "expected"), MISTAKES)
def test_every_mistake_is_told_at_its_place_with_what_may_stand_there(store, line, expected):
    run = store.run()
    with pytest.raises(FilterError) as caught:
        run.filter(line).count()
    found = caught.value.mistakes
    offered = [(one.start + 1, fix.label) for one in found for fix in one.fixes]
    assert set(expected) <= set(offered)
    assert {place for place, _ in expected} == {one.start + 1 for one in found}
    # What another filter adds moves no place.
    with pytest.raises(FilterError) as caught:
        run.filter(line).filter("wrong").count()
    assert caught.value.mistakes == found


@pytest.mark.parametrize("line", [line for line, _ in MISTAKES])
def test_every_suggestion_works(store, line):
    """One that is taken leaves fewer mistakes; the first of each, one by one, leave none."""

    def mistakes_of(line):
        try:
            store.run().filter(line).count()
        except FilterError as error:
            return error.mistakes
        return ()

    for mistake in mistakes_of(line):
        assert mistake.fixes
        for fix in mistake.fixes:
            assert len(mistakes_of(fix.apply(line))) < len(mistakes_of(line)), fix
    while mistakes := mistakes_of(line):
        line = mistakes[0].fixes[0].apply(line)
    assert parser.parse(line, store.run().metadata_columns()) is not None


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("confidence>x", "character 12: 'x' is not a number."),
        ("right gold:", "character 7: 'gold:' needs a value."),
        ("gold: OR right", "character 1: 'gold:' needs a value."),
        ('"?!"', "character 1: '?!' contains no word to look for."),
        ("meta.year>a", "character 11: 'a' is not a number."),
        (":positive", "character 1: ':positive' has no name before ':'."),
        ("//", "character 1: '//' contains no pattern."),
        ("/(/", "'(' is not a valid RE2 regular expression (missing ): ()."),
        ("gold:zzz", "'zzz' is not a label; the labels are negative, positive and not sure."),
        ("zebras", "'zebras' isn't a filter term, and no text contains this word."),
        ("id", "'id' needs a value, and no text contains this word."),
    ],
)
def test_other_mistakes(store, line, sentence):
    with pytest.raises(FilterError) as caught:
        store.run().filter(line).count()
    assert sentence in str(caught.value)


NOTES = [
    (
        "meta.region:EUU",
        "region is never 'EUU'; its values are EU, US and quo'te. Did you mean EU?",
        "EU",
    ),
    (
        "-year:1999",
        "year is never '1999'; its values are 2000, 2001, 2002, 2003, 2004, 2005 and 2006.",
        None,
    ),
    ("region>3", "region contains no numbers; its values are EU, US and quo'te.", None),
    ("word:peopel", "No text contains the word 'peopel'. Did you mean people?", "people"),
    ("salient:peopel@1", "No text contains the word 'peopel'. Did you mean people@1?", "people@1"),
    (
        "id:id-777",
        "No example has the id 'id-777'; ids look like 'id-0', 'id-1' and 'id-10'.",
        None,
    ),
]


@pytest.mark.parametrize(("line", "sentence", "label"), NOTES)
def test_a_value_that_never_occurs_names_those_that_do(store, line, sentence, label):
    part = store.run().filter(line)
    (note,) = part.notes()
    assert note.told() == sentence
    assert part.count() == (N if line.startswith("-") else 0)
    if label:
        (fix,) = (fix for fix in note.fixes if fix.label == label)
        mended = store.run().filter(fix.apply(line))
        assert mended.notes() == []
        assert mended.count() > 0
    assert store.run().filter("region:EU year:2003 people id:id-3").notes() == []


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("wrong duplicate", "`data-quality --run 1`"),
        ("wrong in_train", "`data-quality --train FILE --run 1`"),
        ("wrong label_quality<0.2", "`data-quality --run 1`"),
    ],
)
def test_a_term_that_nothing_was_found_out_for_yet_names_the_command(tmp_path, line, command):
    with open_writer(tmp_path / "x.sqlite") as writer:
        write_all(writer, made_up_rows()[:10])
    with pytest.raises(FilterError, match=r"character 7: .* is not known for run 1 yet") as caught:
        open_store(tmp_path / "x.sqlite").run().filter(line).count()
    assert command in str(caught.value)


def test_slices_combine_as_sets(store):
    run = store.run()
    a, b = run.filter("wrong OR gold:positive"), run.filter("confidence>0.8 | year:2003")
    assert np.array_equal((a & b).mask(), a.mask() & b.mask())
    assert np.array_equal((a | b).mask(), a.mask() | b.mask())
    assert np.array_equal((~a).mask(), ~a.mask())
    assert np.array_equal((~(a & b)).mask(), ~(a.mask() & b.mask()))
    assert np.array_equal(a.filter("right").mask(), a.mask() & run.filter("right").mask())
    assert np.array_equal(run.filter(a.filter("right").where).mask(), a.filter("right").mask())
    assert (~run.filter()).count() == 0
    with pytest.raises(FilterError, match="character 1: 'wrng'"):
        _ = ~run.filter("wrng")


def test_a_line_is_edited_term_by_term():
    typed = 'wrong (word:a OR word:b) channel:mail "two words" confidence>0.5'
    line = editing.Line(typed, ["channel"])
    assert line.values("meta.channel") == ["mail"]
    assert line.values("confidence", ">") == ["0.5"]
    assert line.flag(["wrong", "right"]) == "wrong"
    line.put("meta.channel", ["mail", "two words"])
    line.put("gold", ["a, b"])
    line.put("confidence", [], ">")
    line.put_flag("right", ["wrong", "right"])
    expected = 'right (word:a OR word:b) meta.channel:mail,"two words" "two words" gold:"a, b"'
    assert line.text() == expected
    assert text_of(parser.parse(line.text())) == expected
    assert line.terms()[1] == (
        "(word:a OR word:b)",
        'right meta.channel:mail,"two words" "two words" gold:"a, b"',
    )
    line.put("gold", ["c"], excluded=True)
    line.put_flag("failed", ["failed"], excluded=True)
    assert line.text() == expected + " -gold:c -failed"
    assert line.values("gold") == ["a, b"] and line.values("gold", excluded=True) == ["c"]
    assert line.flag(["failed"]) is None and line.flag(["failed"], excluded=True) == "failed"
    line.put("gold", [], excluded=True)
    line.put_flag(None, ["failed"], excluded=True)
    assert line.text() == expected
    either = editing.Line("wrong OR right")
    either.put("gold", ["x"])
    assert either.text() == "(wrong OR right) gold:x"
    assert editing.Line("").text() == ""


@pytest.mark.parametrize(
    ("lines", "filter"),
    [
        (("wrong", "word:a", "wrong predicted:b"), "wrong word:a predicted:b"),
        (("wrong", "wrong"), "wrong"),
        (
            ("wrong OR right", "word:a OR word:b", "wrong OR right"),
            "(wrong OR right) (word:a OR word:b)",
        ),
        (("not wrong", " people  nice "), "not wrong people  nice"),
    ],
)
def test_what_is_asked_already_is_not_asked_again(lines, filter):
    assert editing.joined(*lines) == filter


def test_a_slice_is_saved_in_its_canonical_form(store, tmp_path):
    path = tmp_path / "x.sqlite"
    with open_writer(path) as writer:
        write_all(writer, made_up_rows()[:10])
    save_slice(path, "typed", "not wrong and region : EU or people")
    (row,) = open_store(path).slices().to_dict("records")
    assert row["where"] == "-wrong meta.region:EU OR word:people"
    with pytest.raises(FilterError, match="'regin' is not a filter term"):
        save_slice(path, "typed", "regin:EU")


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
    [
        *["", "wrong", "-wrong", "gold:negative,positive", ' -meta.region:"quo\'te"'],
        *["confidence>0.5", "wrong gold:negative", "wrong OR people"],
    ],
)
def test_the_rest_of_a_filter_is_all_others(store, where):
    run, rest = store.run(), editing.rest_of(where)
    assert np.array_equal(run.filter(rest).mask(), ~run.filter(where).mask())
    assert np.array_equal(run.filter(editing.rest_of(rest)).mask(), run.filter(where).mask())


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
        lambda t: (f"{t[0]}:{quote(t[1])}", lambda f: f[t[0]] == t[1])
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
    for (_, select), is_negated in terms:
        chosen = select(frame).astype(bool)
        expected &= ~chosen if is_negated else chosen
    where = " ".join(("-" if is_negated else "") + text for (text, _), is_negated in terms)
    assert store.run().filter(where).positions().tolist() == frame["position"][expected].tolist(), (
        where
    )
