"""Is this really the model? One kind of doubt a section; the right value or one sentence each."""

import json
import shutil
import struct
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import transformers as T
from safetensors.torch import load_file, save_file
from tokenizers import processors

from saliency_core.errors import UserError
from saliency_core.model.classifier import Classifier
from saliency_core.model.loading import load_classifier
from saliency_core.model.proof import own_logits, prove
from saliency_core.pipeline.run_audit import audit
from saliency_core.records import MEAN_EMBEDDING, ModelInfo, record_of
from saliency_core.store import open_store
from tests.support.store_made_up import MODEL
from tests.support.tiny_models import (
    GROUPED,
    SIZES,
    TEXTS,
    save_tiny,
    tokenizer_of,
    unigram,
    wordpiece,
)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_tiny("bert", tmp_path_factory.mktemp("bert"))[0]


@pytest.fixture
def copy(bert, tmp_path):
    """Return a copy of a tiny BERT that a test may break."""
    return shutil.copytree(bert, tmp_path / "model")


def change(file, **settings):
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def said(folder, **options):
    with pytest.raises(UserError) as error:
        load_classifier(str(folder), **options)
    return str(error.value)


def equal_alone(classifier: Classifier, texts=TEXTS):
    """Check that texts batched together have the logits that transformers gives each alone."""
    together = classifier.logits(classifier.encode(texts))
    alone = np.stack([own_logits(classifier, text) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    return together


# The reference


def test_the_reference_is_the_first_special_token_that_was_trained(copy):
    weights = load_file(copy / "model.safetensors")
    words = weights["bert.embeddings.word_embeddings.weight"]
    found = []
    for token in ("[MASK]", "[UNK]", "[PAD]"):
        found.append(load_classifier(str(copy)).info.reference)
        words[wordpiece()[0].token_to_id(token)] *= 1e-3
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    classifier = load_classifier(str(copy))
    assert [*found, classifier.info.reference] == ["[MASK]", "[UNK]", "[PAD]", MEAN_EMBEDDING]
    (module,) = classifier.embeddings
    assert classifier.reference_token_id is None
    mean = words[: len(classifier.tokenizer)].mean(0)
    assert torch.allclose(classifier.reference_embedding(module), mean, atol=1e-6)


@pytest.mark.parametrize("name", ["gemma", "bart"])
def test_a_reference_is_what_the_embedding_module_itself_gives(name, tmp_path):
    classifier = load_classifier(save_tiny(name, tmp_path)[0])
    for module in classifier.embeddings:
        given = classifier.reference_embedding(module)
        assert torch.equal(given, module(torch.tensor([classifier.reference_token_id]))[0])
        mean = replace(classifier, reference_token_id=None).reference_embedding(module)
        every = module(torch.arange(len(classifier.tokenizer)))
        assert torch.allclose(mean, every.mean(0), atol=1e-6)


def test_a_run_of_an_earlier_version_names_its_reference():
    stored = {name: value for name, value in asdict(MODEL).items() if name != "reference"}
    assert record_of(ModelInfo, stored | {"blank_token": "[MASK]"}).reference == "[MASK]"


# What is cut off


def test_truncation_on_the_left_marks_what_was_read(copy):
    change(copy / "tokenizer_config.json", truncation_side="left")
    classifier = load_classifier(str(copy))
    text = "the film was good. " * 40 + "the plot was bad"
    (left,) = classifier.encode([text])
    first, last = int(left.spans[~left.special][0, 0]), int(left.spans[~left.special][-1, 1])
    assert (first > 100, last) == (True, len(text))
    assert (left.chars_seen, left.chars_total) == (last - first, len(text))
    np.testing.assert_allclose(
        classifier.logits([left])[0], own_logits(classifier, text), atol=1e-5
    )
    pairs = classifier.encode(["the film was good " * 40], ["a dull plot"])[0]
    assert pairs.chars_seen < pairs.chars_total


def test_windows_read_the_whole_text_whichever_end_is_cut(bert, copy):
    change(copy / "tokenizer_config.json", truncation_side="left")
    text = "the film was good. " * 60
    right, left = (
        load_classifier(str(folder)).encode_windows([text])[0] for folder in (bert, copy)
    )
    assert left.chars_seen == left.chars_total and len(left.windows) > 2
    assert left.window_starts == right.window_starts
    for one, other in zip(left.windows, right.windows, strict=True):
        assert one.input_ids == other.input_ids
        assert np.array_equal(one.spans, other.spans)
    classifier = load_classifier(str(bert))
    content = len(left.windows[0].input_ids) - 2
    assert left.input_ids == classifier.encode([text], max_length=10_000)[0].input_ids[1:-1]
    assert left.windows[0].input_ids[1:-1] == left.input_ids[:content]
    assert classifier.encode([text])[0].input_ids == left.windows[0].input_ids


@pytest.mark.parametrize(
    ("name", "positions", "named", "limit"),
    [
        ("bert", 2048, 2048, 2048),
        ("bert", 2048, None, 2048),
        ("bert", 256, 4096, 256),
        ("roberta", 514, None, 513),  # It counts positions from behind its padding id, here 0.
        ("llama", 131_072, None, 131_072),
        ("qwen2", 4096, 1000, 1000),
        ("t5", None, 300, 300),
    ],
)
def test_a_text_may_be_as_long_as_the_model_and_its_tokenizer_take(
    name, positions, named, limit, tmp_path
):
    options = {} if positions is None else {"max_position_embeddings": positions}
    model, _ = save_tiny(name, tmp_path, **options)
    change(tmp_path / "model" / "tokenizer_config.json", model_max_length=named or int(1e30))
    assert load_classifier(model).max_length == limit
    assert said(model, max_length=limit + 1).endswith(f"than {model} can take, which is {limit}.")


# The settings beside the weights


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"hidden_act": "relu"}, False),
        ({"num_attention_heads": 4}, False),
        ({"layer_norm_eps": 1e-3}, False),
        ({"pad_token_id": 3}, False),
        ({"some_setting_of_its_own": 1}, False),
        ({"temperature": 0.5, "max_length": 9, "num_beams": 4, "transformers_version": "9"}, True),
        ({"_name_or_path": "elsewhere", "architectures": ["Other"]}, True),
        ({"id2label": {"0": "x", "1": "y", "2": "z"}, "label2id": {"x": 0, "y": 1, "z": 2}}, True),
    ],
)
def test_every_setting_that_can_change_a_logit_is_in_the_digest(settings, same, bert, copy):
    change(copy / "config.json", **settings)
    before, after = load_classifier(bert).info, load_classifier(str(copy)).info
    assert before.model_digest == after.model_digest
    assert (before.config_digest == after.config_digest) is same


def test_the_settings_of_the_tokenizer_are_in_its_digest(bert, copy):
    change(copy / "tokenizer_config.json", truncation_side="left")
    classifier = load_classifier(str(copy))
    before, again = load_classifier(bert).info, load_classifier(bert).info
    assert before.tokenizer_digest == again.tokenizer_digest
    assert before.tokenizer_digest != classifier.info.tokenizer_digest


def test_changed_settings_are_another_run(copy, tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    stored = []
    for activation in ("gelu", "relu"):
        change(copy / "config.json", hidden_act=activation)
        place = tmp_path / "a.sqlite"
        done = audit(str(copy), str(tmp_path / "rows.jsonl"), db=place, evaluate=False)
        assert (done.computed, done.reused) == (4, 0)
        stored.append(open_store(place).run(done.run).example(0)["logits"])
    assert not np.allclose(*stored)


# Padding


def without_padding(name, folder, side="right", **options):
    """Save a decoder that names no padding token and whose tokenizer ends texts with the end."""
    made = unigram("causal") if name == "llama" else None
    model, _ = save_tiny(name, folder, **({"pad_token_id": None} | options))
    if made:
        tokenizer = tokenizer_of(made, side)
        end = (tokenizer.eos_token, tokenizer.eos_token_id)
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[end]
        )
        tokenizer.pad_token = None
        tokenizer.save_pretrained(model)
    return model


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "bert"])
@pytest.mark.parametrize("pad", [None, -1])
def test_a_model_without_padding_token_answers_as_it_does_alone(name, pad, tmp_path):
    classifier = load_classifier(without_padding(name, tmp_path, pad_token_id=pad))
    equal_alone(classifier, [*TEXTS, "the film </s>", "good"])


def test_a_padding_token_that_ends_every_text_is_read_as_transformers_does(tmp_path):
    classifier = load_classifier(without_padding("llama", tmp_path, pad_token_id=1))
    assert classifier.tokenizer.eos_token_id == 1
    equal_alone(classifier)


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_the_string_of_an_end_token_in_a_text_ends_no_audit(name, tmp_path):
    model, _ = save_tiny(name, tmp_path)
    texts = ["the film was good", "a dull plot </s> the actor was bad", "nice scene", "bad"]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    database = tmp_path / "a.sqlite"
    done = audit(model, str(tmp_path / "rows.jsonl"), db=database)
    assert (done.computed, done.failed) == (4, 0)
    classifier = load_classifier(model)
    alone = equal_alone(classifier, texts)
    stored = [open_store(database).run(done.run).example(row)["logits"] for row in range(4)]
    np.testing.assert_allclose(stored, alone, atol=1e-4)


# The tokenizer


@pytest.mark.parametrize("kept", [[], ["tokenizer_config.json"]])
def test_a_folder_without_tokenizer_files(kept, copy):
    for file in copy.glob("tokenizer*"):
        if file.name not in kept:
            file.unlink()
    assert "has no tokenizer files" in said(copy)


@pytest.mark.parametrize("content", [b"", b'{"version":', b"version https://git-lfs.github.com/s"])
def test_a_broken_tokenizer_file(content, copy):
    (copy / "tokenizer.json").write_bytes(content)
    assert "tokenizer.json is" in said(copy)


def test_texts_that_the_tokenizer_does_not_know(bert):
    classifier = load_classifier(bert)
    assert prove(classifier, TEXTS) == []
    with pytest.raises(UserError, match=r"does not know 100% of the tokens of the first 2 texts"):
        prove(classifier, ["ξενος λογος", "ωραια ταινια"])
    (warning,) = prove(classifier, [*TEXTS, "ξ ψ ω " * 9])
    assert "does not know" in warning and "%" in warning


def test_an_audit_warns_and_a_dry_run_refuses(bert, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for text in ["ξενος λογος", "ωραια"]))
    for dry_run in (True, False):
        with pytest.raises(UserError, match="does not know 100%"):
            audit(bert, str(file), db=tmp_path / "a.sqlite", dry_run=dry_run)
    assert not (tmp_path / "a.sqlite").exists()
    file.write_text(json.dumps({"text": "the film ξ ψ ω"}))
    done = audit(bert, str(file), db=tmp_path / "a.sqlite", evaluate=False)
    assert any("does not know" in warning for warning in done.warnings)
    (doubt,) = open_store(tmp_path / "a.sqlite").run().doubts
    assert "does not know" in doubt


# The answer


def test_other_logits_than_those_of_transformers_are_refused(bert, tmp_path):
    classifier = load_classifier(bert)
    shorter = replace(classifier, pad_token_id=1, inputs=frozenset({"input_ids"}))
    with pytest.raises(UserError, match="otherwise among other texts than alone"):
        prove(shorter, TEXTS)


def test_a_model_whose_answer_does_not_depend_on_the_text(copy):
    weights = load_file(copy / "model.safetensors")
    weights["classifier.weight"][:] = 0
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert "its answer does not depend on the text" in said(copy)


# The weights


def write(change):
    def broken(folder):
        file = folder / "model.safetensors"
        file.write_bytes(change(file.read_bytes()))

    return broken


def as_pickle(content):
    def broken(folder):
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(content)

    return broken


def with_nan(folder):
    weights = load_file(folder / "model.safetensors")
    weights["bert.pooler.dense.bias"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


BROKEN = {
    "cut": (write(lambda whole: whole[: len(whole) // 2]), "header speaks of"),
    "cut by a byte": (write(lambda whole: whole[:-1]), "header speaks of"),
    "longer": (write(lambda whole: whole + b"0"), "header speaks of"),
    "cut in the header": (write(lambda whole: whole[:100]), "is cut short or no safetensors"),
    "three bytes": (write(lambda whole: whole[:3]), "is cut short or no safetensors"),
    "empty": (write(lambda whole: b""), "model.safetensors is empty"),
    "pointer": (
        write(lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`",
    ),
    "page": (write(lambda whole: b"<!doctype html><html></html>" * 9), "is a web page"),
    "header": (
        write(lambda whole: struct.pack("<Q", 20) + b"{" * 20 + whole[28:]),
        "has a damaged header",
    ),
    "pickle": (as_pickle(b"\x80\x04\x95\x0a\x00\x00\x00"), "is a pickle that holds more than"),
    "cut archive": (as_pickle(b"PK\x03\x04" + b"0" * 50), "pytorch_model.bin is cut short"),
    "nan": (with_nan, "NaN or infinite numbers: 1 of 32 in bert.pooler.dense.bias"),
    "shape": (
        lambda folder: change(folder / "config.json", vocab_size=99),
        "don't fit its config.json: bert.embeddings.word_embeddings.weight is of shape (129, 32)",
    ),
    "classes": (
        lambda folder: change(
            folder / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1}
        ),
        "don't fit its config.json: classifier.bias is of shape (3,)",
    ),
    "config": (
        lambda folder: (folder / "config.json").write_text('{"model_type": '),
        "config.json is not valid JSON",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_get_one_sentence(name, copy):
    break_it, sentence = BROKEN[name]
    break_it(copy)
    assert sentence in said(copy)


def test_a_file_in_place_of_a_folder(bert):
    assert said(f"{bert}/config.json").endswith(
        "is a file; give the folder of the model or a hub name."
    )


def test_an_adapter_without_its_base(copy):
    for file in ("config.json", "model.safetensors"):
        (copy / file).unlink()
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "bert-base-uncased"}')
    assert "is an adapter of bert-base-uncased, without that model's weights: merge" in said(copy)


# The classes


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ({"1": "a", "2": "b", "3": "c"}, "names no class 0: its id2label names 1, 2, 3."),
        ({"0": "a", "1": "", "2": "c"}, "names no class 1"),
        ({"0": "a", "1": None, "2": "c"}, "names no class 1"),
        ({"0": "a", "1": "b", "2": "a "}, "names classes 0 and 2 both 'a'"),
    ],
)
def test_missing_and_doubled_names_of_classes(names, sentence, copy):
    change(copy / "config.json", id2label=names, label2id={})
    assert sentence in said(copy)


@pytest.mark.parametrize(
    ("problem", "task"),
    [
        ("multi_label_classification", "multi-label"),
        ("regression", "regression"),
        (None, "regression"),
    ],
)
def test_one_output_has_a_sigmoid_unless_it_is_a_number(problem, task, tmp_path):
    model, _ = save_tiny("bert", tmp_path, num_labels=1, problem_type=problem)
    classifier = load_classifier(model)
    logits = classifier.logits(classifier.encode(TEXTS))
    expected = logits if task == "regression" else 1 / (1 + np.exp(-logits))
    assert classifier.info.task == task
    np.testing.assert_allclose(classifier.probabilities(logits), expected, rtol=1e-6)


# Architectures


def save(config, tokenizer, folder):
    torch.manual_seed(3)
    model = T.AutoModelForSequenceClassification.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def audited(model, tmp_path):
    """Audit the texts whole; return the classifier, whose logits are what was stored."""
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    done = audit(model, str(tmp_path / "rows.jsonl"), db=tmp_path / "a.sqlite")
    assert (done.computed, done.failed) == (4, 0)
    classifier = load_classifier(model)
    alone = equal_alone(classifier)
    stored = [open_store(tmp_path / "a.sqlite").run().example(row)["logits"] for row in range(4)]
    np.testing.assert_allclose(stored, alone, atol=1e-4)
    return classifier


def test_settings_of_the_text_part_may_stand_in_a_part_of_their_own(tmp_path):
    tokenizer = tokenizer_of(unigram("causal"))
    text = GROUPED | {"vocab_size": len(tokenizer), "head_dim": 16, "pad_token_id": 0}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    config = T.Gemma3Config(text_config=text, vision_config=vision, num_labels=2)
    classifier = audited(save(config, tokenizer, tmp_path / "model"), tmp_path)
    assert (classifier.info.layers, classifier.max_length) == (2, 128)


def other(name, **options):
    tokenizer = tokenizer_of(wordpiece())
    ids = {role: getattr(tokenizer, role) for role in ("pad_token_id", "sep_token_id")}
    kind = T.CONFIG_MAPPING[name]
    return kind(vocab_size=len(tokenizer), num_labels=2, **ids, **options), tokenizer


def test_longformer_pads_to_its_window(tmp_path):
    config, tokenizer = other("longformer", attention_window=16, **SIZES)
    classifier = audited(save(config, tokenizer, tmp_path / "model"), tmp_path)
    assert classifier.width_multiple == 16


def test_ctrl_scales_its_embeddings_in_place(tmp_path):
    config, tokenizer = other("ctrl", n_embd=16, dff=16, n_layer=2, n_head=2, n_positions=64)
    assert audited(save(config, tokenizer, tmp_path / "model"), tmp_path).max_length == 64


def test_xlnet_is_refused_in_one_sentence_also_by_a_dry_run(tmp_path):
    config, tokenizer = other("xlnet", d_model=16, n_layer=2, n_head=2, d_inner=16)
    model = save(config, tokenizer, tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": TEXTS[0]}))
    with pytest.raises(UserError, match="returns copies of its hidden states"):
        audit(model, str(tmp_path / "rows.jsonl"), db=tmp_path / "a.sqlite", dry_run=True)


# Around the load


def test_loading_leaves_the_bars_of_transformers_as_they_were(bert):
    logging = T.utils.logging
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.enable_progress_bar()
    load_classifier(bert)
    assert logging.is_progress_bar_enabled() and logging.get_verbosity() == verbosity
    if not shown:
        logging.disable_progress_bar()


def test_a_revision_of_the_model_is_asked_for(bert, tmp_path, monkeypatch):
    asked = []
    real = T.AutoModelForSequenceClassification.from_pretrained

    def from_pretrained(name, **options):
        asked.append(options["revision"])
        return real(name, **options)

    monkeypatch.setattr(T.AutoModelForSequenceClassification, "from_pretrained", from_pretrained)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": TEXTS[0]}))
    options = {"model_revision": "v2", "dry_run": True}
    audit(bert, str(tmp_path / "rows.jsonl"), db=tmp_path / "a.sqlite", **options)
    assert asked == ["v2"]
