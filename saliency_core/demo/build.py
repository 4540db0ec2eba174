"""The embedded demonstration: generated messages with planted flaws, a small BERT trained on them.

The model is first trained as a masked language model, so that it owns a real LM head, and then as
a classifier. Nothing is downloaded; the data are the same every time.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from saliency_core.analysis.error_slices import discover, keep_discovered
from saliency_core.analysis.kept_suspects import keep_suspects, kept_suspects
from saliency_core.data.dataset import load_examples
from saliency_core.data.files.row_writer import write_json_lines
from saliency_core.demo.messages import LABELS, audited_messages, training_messages
from saliency_core.model.audited import classifier_of
from saliency_core.progress import Progress, silent
from saliency_core.quality.findings import check_data, kept_data_quality
from saliency_core.shortcuts.ablation_effects import keep_effects, with_effects
from saliency_core.shortcuts.suspects import suspects
from saliency_core.shortcuts.training_counts import count_features
from saliency_core.store import open_store

VERSION = 3
"""Raise it when the generated data or the training changes: older folders are then rebuilt."""
TRAINING_MESSAGES = 3000
AUDITED_MESSAGES = 1000
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MAXIMUM_TOKENS = 96
VOCABULARY_SIZE = 1200
BATCH = 32
LANGUAGE_MODEL_EPOCHS = 7
CLASSIFIER_EPOCHS = 3
EFFECT_EXAMPLES = 60
NULL_REPEATS = 20
IGNORED = -100
"""The label that the cross entropy of transformers leaves out."""

transformers.utils.logging.disable_progress_bar()


@dataclass(frozen=True)
class Demo:
    """Where the parts of a built demonstration lie."""

    model: Path
    lm_head: Path
    dataset: Path
    train: Path
    answer_key: Path
    """Which labels of the dataset are wrong; nothing in the audit's reach says so."""


def build_demo(folder: Path, progress: Progress = silent) -> Demo:
    """Generate the messages and train the model, or return what an earlier call built.

    Args:
        folder: where everything is written; made where it is missing.
        progress: called with (stage, done, total).
    """
    demo = Demo(
        model=folder / "classifier",
        lm_head=folder / "language-model",
        dataset=folder / "messages.jsonl",
        train=folder / "training-messages.jsonl",
        answer_key=folder / "answer-key.jsonl",
    )
    stamp = folder / "built.json"
    if stamp.is_file() and json.loads(stamp.read_text()).get("version") == VERSION:
        return demo
    folder.mkdir(parents=True, exist_ok=True)
    training = training_messages(TRAINING_MESSAGES)
    audited = audited_messages(AUDITED_MESSAGES)
    write_json_lines(demo.train, [message.row() for message in training])
    write_json_lines(demo.dataset, [message.row() for message in audited])
    write_json_lines(demo.answer_key, [message.answer_key() for message in audited])
    torch.manual_seed(0)
    texts = [message.text for message in training]
    tokenizer = train_tokenizer(texts)
    encoded = [torch.tensor(ids) for ids in tokenizer(texts)["input_ids"]]
    language_model = train_language_model(tokenizer, encoded, progress)
    language_model.save_pretrained(demo.lm_head)
    tokenizer.save_pretrained(demo.lm_head)
    labels = torch.tensor([LABELS.index(message.label) for message in training])
    classifier = train_classifier(language_model, encoded, labels, progress)
    classifier.save_pretrained(demo.model)
    tokenizer.save_pretrained(demo.model)
    stamp.write_text(json.dumps({"version": VERSION}))
    return demo


def find_flaws(built: Demo, database: Path, progress: Progress = silent) -> None:
    """Keep with the newest run what is wrong with its data, its suspects and where it errs.

    Does nothing where an earlier call kept them.
    """
    run = open_store(database).run()
    train = load_examples(str(built.train), text_column="text", label_column="label")
    if kept_data_quality(run) is None:
        check_data(run, train=train, progress=progress)
    if kept_suspects(run) is not None:
        return
    training = count_features(train, run.label_names)
    table, found = suspects(run, training=training, null_repeats=NULL_REPEATS)
    table = with_effects(
        run, table, classifier_of(run), examples=EFFECT_EXAMPLES, progress=progress
    )
    control: dict[str, Any] = found | {
        "layer": run.recommended,
        "effect_examples": EFFECT_EXAMPLES,
        "train": str(built.train),
    }
    keep_effects(run, table, EFFECT_EXAMPLES)
    keep_discovered(run, discover(run)[0])
    keep_suspects(run, table, control)


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Return a lower-casing WordPiece tokenizer: the commonest words of the texts, and letters.

    The trainer of `tokenizers` breaks ties by chance, and then no two demonstrations are the same.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    letters = sorted({letter for word in counts for letter in word})
    words = sorted(counts, key=lambda word: (-counts[word], word))
    pieces = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = list(dict.fromkeys(pieces))[:VOCABULARY_SIZE]
    tokenizer = Tokenizer(
        models.WordPiece(
            {piece: number for number, piece in enumerate(vocabulary)}, unk_token="[UNK]"
        )
    )
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary.index("[SEP]")), ("[CLS]", vocabulary.index("[CLS]"))
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=MAXIMUM_TOKENS,
    )


def train_language_model(
    tokenizer: PreTrainedTokenizerFast, encoded: list[Tensor], progress: Progress
) -> BertForMaskedLM:
    """Return a BERT trained to fill in masked tokens."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=MAXIMUM_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = BertForMaskedLM(config)

    def loss_of(rows: list[int]) -> Tensor:
        ids, attention = _pad([encoded[row] for row in rows], tokenizer.pad_token_id)
        masked, labels = _mask(ids, attention.bool(), tokenizer)
        return model(input_ids=masked, attention_mask=attention, labels=labels).loss

    _train(model, loss_of, encoded, LANGUAGE_MODEL_EPOCHS, 3e-3, "language model", progress)
    return model


def train_classifier(
    language_model: BertForMaskedLM,
    encoded: list[Tensor],
    labels: Tensor,
    progress: Progress,
    epochs: int = CLASSIFIER_EPOCHS,
) -> BertForSequenceClassification:
    """Return a classifier of the four classes that starts from the language model."""
    config = copy.deepcopy(language_model.config)
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: index for index, label in enumerate(LABELS)}
    model = BertForSequenceClassification(config)
    # The pooler alone is new: a masked language model has none.
    model.bert.load_state_dict(language_model.bert.state_dict(), strict=False)

    def loss_of(rows: list[int]) -> Tensor:
        ids, attention = _pad([encoded[row] for row in rows], config.pad_token_id or 0)
        return model(input_ids=ids, attention_mask=attention, labels=labels[rows]).loss

    _train(model, loss_of, encoded, epochs, 5e-4, "classifier", progress)
    return model


def _train(
    model: torch.nn.Module,
    loss_of: Callable[[list[int]], Tensor],
    encoded: list[Tensor],
    epochs: int,
    learning_rate: float,
    stage: str,
    progress: Progress,
) -> None:
    """Train with AdamW and a one-cycle learning rate."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    steps = epochs * -(-len(encoded) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    batches = (rows for _ in range(epochs) for rows in _batches(encoded))
    for step, rows in enumerate(batches, start=1):
        loss = loss_of(rows)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(f"training the {stage}", step, steps)
    model.eval()


def _batches(encoded: list[Tensor]) -> Iterator[list[int]]:
    """Yield the rows of an epoch in batches of similar length, which wastes little on padding."""
    order = torch.randperm(len(encoded)).tolist()
    pool = 8 * BATCH
    for start in range(0, len(order), pool):
        rows = sorted(order[start : start + pool], key=lambda row: len(encoded[row]))
        batches = [rows[first : first + BATCH] for first in range(0, len(rows), BATCH)]
        for chosen in torch.randperm(len(batches)).tolist():
            yield batches[chosen]


def _pad(rows: list[Tensor], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask, both (batch, token)."""
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_token_id)
    return ids, (ids != pad_token_id).long()


def _mask(ids: Tensor, real: Tensor, tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Return masked ids and labels (batch, token): 30 % chosen, of them 70 % masked, 10 % random.

    The scheme of Devlin et al. 2019, section 3.1, with twice the tokens chosen and more of them
    left as they are: a short training then already decodes its own tokens.
    """
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    chosen = (torch.rand(ids.shape) < 0.3) & real & ~special
    labels = torch.where(chosen, ids, IGNORED)
    dice = torch.rand(ids.shape)
    masked = torch.where(chosen & (dice < 0.7), tokenizer.mask_token_id, ids)
    random_ids = torch.randint(len(SPECIAL_TOKENS), len(tokenizer), ids.shape)
    return torch.where(chosen & (dice >= 0.9), random_ids, masked), labels
