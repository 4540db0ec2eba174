"""Tiny seeded models of every architecture, with tokenizers of three families built on the spot."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers as T
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

CORPUS = [
    "the film was good, the actor was nice and the plot was bright.",
    "a dull plot, a bad actor: unhappily the scene was not good at all!",
    "Naïve résumé of a naive café, 12 out of 100 people's votes.",
    "großartig, aber 映画は良い и фильм хороший والفيلم جيد.",
]
TEXTS = [
    "the film was good.",
    "a dull plot, bad actor",
    "unhappy",
    "the bright bright actor was unhappily nice, the film was good, the plot was dull, bad.",
]
SPECIAL = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
BERT_SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
LENGTH = 128


WORDS = "the film was good plot actor bad bright dull nice and not scene a".split()
"""Whole words of the vocabularies; everything else falls into pieces of one character."""


def _with_template(raw, special, single, pair):
    """Add the special tokens around one text and around a pair."""
    used = [token for token in special.values() if token in (single + pair).split()]
    if used:
        raw.post_processor = processors.TemplateProcessing(
            single=single,
            pair=pair,
            special_tokens=[(token, raw.token_to_id(token)) for token in used],
        )
    return raw


def _characters(lower=False):
    text = " ".join(CORPUS)
    return sorted(set(text.lower() if lower else text) - {" "})


# The vocabularies are written down and not trained: training breaks ties at random.
@cache
def wordpiece():
    """Return a lower-casing WordPiece tokenizer."""
    characters = _characters(lower=True)
    tokens = [*BERT_SPECIAL.values(), *characters, *(f"##{c}" for c in characters), "##happy"]
    tokens += [word for word in WORDS if word not in tokens]
    raw = Tokenizer(
        models.WordPiece({token: number for number, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    single, pair = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
    return _with_template(raw, BERT_SPECIAL, single, pair), BERT_SPECIAL


@cache
def byte_level(classic=True):
    """Return a byte-level BPE tokenizer, RoBERTa's way or, without its special tokens, GPT-2's."""
    special = SPECIAL if classic else {"eos": "<|endoftext|>"}
    tokens = [*special.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = []
    for word in WORDS:
        made = "Ġ"
        for character in word:
            if made + character not in tokens:
                tokens.append(made + character)
                merges.append((made, character))
            made += character
    raw = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    single, pair = ("<s> $A </s>", "<s> $A </s> $B </s>") if classic else ("$A", "$A $B")
    return _with_template(raw, special, single, pair), special


@cache
def unigram(kind="roberta"):
    """Return a SentencePiece-unigram tokenizer, XLM-R's way, T5's or a causal model's."""
    special = SPECIAL if kind == "roberta" else {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}
    pieces = [(token, 0.0) for token in special.values()]
    pieces += [(f"▁{word}", -4.0) for word in WORDS] + [("▁un", -5.0), ("happy", -5.0)]
    pieces += [(character, -8.0) for character in ["▁", *_characters()]]
    raw = Tokenizer(models.Unigram(pieces, unk_id=list(special.values()).index("<unk>")))
    raw.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    single, pair = {
        "roberta": ("<s> $A </s>", "<s> $A </s> $B </s>"),
        "t5": ("$A </s>", "$A </s> $B </s>"),
        "causal": ("$A", "$A $B"),
    }[kind]
    return _with_template(raw, special, single, pair), special


def tokenizer_of(made, side="right"):
    """Return the fast tokenizer of what a function above made."""
    raw, special = made
    names = {f"{role}_token": token for role, token in special.items()}
    if "sep_token" in names and "eos_token" not in names and names["sep_token"] == "</s>":
        names |= {"bos_token": "<s>", "eos_token": "</s>"}
    return T.PreTrainedTokenizerFast(
        tokenizer_object=raw, model_max_length=LENGTH, padding_side=side, **names
    )


@dataclass(frozen=True)
class Kind:
    """One architecture: its configuration, tokenizer and language model."""

    config: type
    tokenizer: object
    options: dict
    language_model: type | None = T.AutoModelForMaskedLM
    side: str = "right"
    seed: int = 4
    """One of whose texts none changes the target by almost nothing: 2 % of that is rounding."""


SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": LENGTH + 4,
}
GROUPED = SIZES | {"num_key_value_heads": 1}
CAUSAL = T.AutoModelForCausalLM
KINDS = {
    "bert": Kind(T.BertConfig, wordpiece, SIZES),
    "roberta": Kind(T.RobertaConfig, byte_level, SIZES | {"type_vocab_size": 1}),
    "distilbert": Kind(
        T.DistilBertConfig,
        wordpiece,
        {
            "dim": 32,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 32,
            "max_position_embeddings": LENGTH,
        },
        seed=0,
    ),
    "albert": Kind(T.AlbertConfig, unigram, SIZES | {"embedding_size": 8}),
    "electra": Kind(T.ElectraConfig, wordpiece, SIZES | {"embedding_size": 8}),
    "deberta-v2": Kind(
        T.DebertaV2Config,
        unigram,
        SIZES
        | {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "mpnet": Kind(T.MPNetConfig, wordpiece, SIZES),
    "xlm-roberta": Kind(T.XLMRobertaConfig, unigram, SIZES | {"type_vocab_size": 1}),
    "modernbert": Kind(T.ModernBertConfig, byte_level, SIZES | {"global_attn_every_n_layers": 2}),
    "camembert": Kind(T.CamembertConfig, unigram, SIZES | {"type_vocab_size": 1}),
    "gpt2": Kind(
        T.GPT2Config,
        lambda: byte_level(classic=False),
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": LENGTH},
        CAUSAL,
    ),
    "opt": Kind(
        T.OPTConfig,
        byte_level,
        {
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 32,
            "max_position_embeddings": LENGTH,
        },
        CAUSAL,
    ),
    "gpt-neox": Kind(T.GPTNeoXConfig, lambda: byte_level(classic=False), SIZES, CAUSAL),
    "llama": Kind(T.LlamaConfig, lambda: unigram("causal"), GROUPED, CAUSAL, "left"),
    "qwen2": Kind(T.Qwen2Config, lambda: byte_level(classic=False), GROUPED, CAUSAL, "left"),
    "mistral": Kind(T.MistralConfig, lambda: unigram("causal"), GROUPED, CAUSAL, "left"),
    "gemma": Kind(
        T.GemmaConfig, lambda: unigram("causal"), GROUPED | {"head_dim": 16}, CAUSAL, "left"
    ),
    "t5": Kind(
        T.T5Config,
        lambda: unigram("t5"),
        {"d_model": 32, "d_kv": 16, "d_ff": 32, "num_layers": 2, "num_heads": 2},
        None,
    ),
    "bart": Kind(
        T.BartConfig,
        byte_level,
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "max_position_embeddings": LENGTH,
            "scale_embedding": True,
        },
        None,
    ),
}


def config_of(name, tokenizer, **options):
    """Return the configuration of an architecture for a tokenizer."""
    kind = KINDS[name]
    ids = {
        role: getattr(tokenizer, role)
        for role in ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
    }
    if kind.language_model is None:
        ids["decoder_start_token_id"] = tokenizer.pad_token_id
    return kind.config(
        **({"vocab_size": len(tokenizer), "num_labels": 3} | ids | kind.options | options)
    )


def save_tiny(name: str, folder: Path, **options) -> tuple[str, str | None]:
    """Save a seeded classifier and its language model; return their folders."""
    kind = KINDS[name]
    tokenizer = tokenizer_of(kind.tokenizer(), kind.side)
    config = config_of(name, tokenizer, **options)
    torch.manual_seed(kind.seed)
    classifier = T.AutoModelForSequenceClassification.from_config(config)
    _enlarge(classifier)
    classifier.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    if kind.language_model is None:
        return str(folder / "model"), None
    language_model = kind.language_model.from_config(config)
    _enlarge(language_model)
    language_model.save_pretrained(folder / "lm")
    tokenizer.save_pretrained(folder / "lm")
    return str(folder / "model"), str(folder / "lm")


@torch.no_grad()
def _enlarge(model):
    """Scale the random matrices, so that layers do something and logits differ between texts."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            spread = (
                0.5 if "embed" in name or "shared" in name else 0.7 * parameter.shape[1] ** -0.5
            )
            parameter.normal_(0, spread)


def blanked(classifier, encoding):
    """Return an encoding with the blank token in the place of every token that is not special."""
    ids = np.where(encoding.special, encoding.input_ids, classifier.blank_token_id)
    return replace(encoding, input_ids=tuple(ids.tolist()))
