"""Every architecture that transformers classifies texts with, built tiny and audited.

    python tests/support/architectures.py [--only NAME ...] [--jobs 2]

prints a table: architecture, right / refused in one sentence / fault. Each runs in a process of
its own, so that one that hangs or crashes is a line of the table like the others.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PROCESSES = multiprocessing.get_context("forkserver")
"""Each process is a copy of one that has imported everything already."""
SECONDS = 180
"""How long one architecture may take."""
LAYERS = 2
SMALL = {
    r"(?:\w+_)?vocab_size$": None,  # filled in with the tokenizer's
    r"hidden_size$|d_model$|n_embd$|dim$|emb_dim$|model_dim$|width$|d_latents$|d_embeds$": 32,
    r"embedding_size$|word_embed_proj_dim$|hidden_size_per_layer_input$|embed_dim$": 32,
    r"(?:\w+_)?(?:hidden_layers|n_layers?|num_layers)$|(?:en|de)coder_layers$|n_layers?$": LAYERS,
    r"num_hidden_groups$|num_nextn_predict_layers$|num_self_attends_per_block$|num_blocks$": 1,
    r"(?:\w+_)?num_key_value_heads$|n_kv_heads$|num_kv_heads$|multi_query_groups$": 2,
    r"(?:\w+_)?attention_heads$|n_heads?$|num_heads$|n_head$|heads$": 2,
    r"(?:\w+_)?head_dim$|d_kv$|v_head_dim$|kv_channels$": 16,
    r"(?:moe_|shared_expert_|expert_)?intermediate_size$|ffn_dim$|(?:en|de)coder_ffn_dim$": 32,
    r"dff$|d_ff$|d_inner$|hidden_dim$|n_inner$|ffn_hidden_size$|feed_forward_size$": 32,
    r"shared_intermediate_size$|moe_shared_expert_intermediate_size$": 32,
    r"(?:num|n)_(?:local_|routed_)?experts$|moe_num_experts$|n_routed_experts$": 4,
    r"num_experts_per_tok$|moe_k$|moe_topk$|num_experts_per_token$": 2,
    r"n_shared_experts$|n_group$|topk_group$|num_shared_expert$": 1,
    r"max_position_embeddings$|n_positions$|max_2d_position_embeddings$|max_seq_len$": 132,
    r"(?:q|kv)_lora_rank$|rank$|mamba_dt_rank$|mamba_d_state$": 8,
    r"qk_nope_head_dim$|qk_rope_head_dim$|(?:mamba|linear)_(?:key_|value_)?head_?dim$": 16,
    r"linear_num_(?:key|value)_heads$|mamba_n_heads$|n_mamba_heads$|num_mem_heads$": 2,
    r"rotary_dim$": 16,
    r"sliding_window$|local_attention$|window_size$": 16,
    r"image_size$": 16,
    r"patch_size$": 8,
}
"""Pattern of a configuration's field -> its tiny value."""
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
GROUPS = {"n_group": 1, "topk_group": 1, "num_experts_per_tok": 2}
HYBRID = {
    "num_hidden_layers": 4,
    "layers_block_type": ["linear_attention", "hybrid"] * 2,
    "attention_head_dim": 32,
}
OWN: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE}},
    "deberta": {"pooler_hidden_size": 32},
    "deberta-v2": {"pooler_hidden_size": 32},
    "deepseek_v2": GROUPS,
    "esm": {"mask_token_id": 4},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4},
    "lilt": {"hidden_size": 48},
    "ministral": {"head_dim": 16},
    "mistral4": {"head_dim": 32},
    "modernbert": {"rope_parameters": None},
    "modernbert-decoder": {"rope_parameters": None},
    "nemotron": {"num_key_value_heads": 2},
    "reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [12, 11],
        "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 16,
        "lsh_attn_chunk_length": 16,
        "num_buckets": 4,
        "is_decoder": False,
    },
    "xlnet": {"d_head": 16},
    "xmod": {"default_language": "en_XX"},
    "zamba": HYBRID,
    "zamba2": HYBRID
    | {"n_mamba_heads": 4, "mamba_headdim": 16, "attention_hidden_size": 64}
    | {"hybrid_layer_ids": [1, 3]},
}
"""What an architecture needs besides, by the name of its configuration; None: its default."""


def names() -> list[str]:
    """Return the architectures of the mapping."""
    from transformers.models.auto import modeling_auto

    return list(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)


def small_value(field: str, value: Any, vocabulary: int) -> Any:
    """Return the tiny value of a field of a configuration."""
    if isinstance(value, list) and len(value) > LAYERS and "layer" in field:
        return _cut(value)
    if field == "vocab_size":
        return vocabulary
    if isinstance(value, bool) or not isinstance(value, (int, list)):
        return value
    for pattern, small in SMALL.items():
        if re.match(pattern, field):
            if small is None:
                return vocabulary if value > 2 * vocabulary else value
            if isinstance(value, list):
                return [small] * len(value)
            return min(value, small) if value > 0 else value
    return value


def _cut(kinds: list) -> list:
    """Return the kinds of the layers left, each kind at least once where there is room."""
    distinct = list(dict.fromkeys(map(str, kinds)))
    if 1 < len(distinct) <= LAYERS and isinstance(kinds[0], str):
        return distinct
    return kinds[:LAYERS]


def shrink(config: Any, vocabulary: int) -> dict[str, Any]:
    """Return the settings of a tiny configuration of the same class, nested ones too."""
    settings = config.to_dict()
    for name in ("id2label", "label2id", "transformers_version", "architectures", "dtype"):
        settings.pop(name, None)
    nested = {name for name in config.sub_configs if getattr(config, name, None) is not None}
    own = OWN.get(config.model_type, {})
    left_out = {field for field, value in own.items() if value is None}
    result = {}
    for field, value in settings.items():
        if field in nested:
            result[field] = shrink(getattr(config, field), vocabulary)
        else:
            result[field] = small_value(field, value, vocabulary)
    return {field: value for field, value in (result | own).items() if field not in left_out}


def build(name: str, folder: Path) -> None:
    """Save a tiny seeded classifier of an architecture with its tokenizer."""
    import torch
    import transformers as T

    from tests.support import tiny_models

    torch.manual_seed(4)
    kind = T.CONFIG_MAPPING[name]
    causal = kind in T.MODEL_FOR_CAUSAL_LM_MAPPING and kind not in T.MODEL_FOR_MASKED_LM_MAPPING
    default = kind()
    made = (
        tiny_models.unigram("t5")
        if default.is_encoder_decoder
        else (tiny_models.unigram("causal") if causal else tiny_models.byte_level())
    )
    tokenizer = tiny_models.tokenizer_of(made)
    ids = {
        f"{role}_token_id": token
        for role in ("pad", "bos", "eos", "cls", "sep")
        if (token := getattr(tokenizer, f"{role}_token_id")) is not None
    }
    settings = shrink(default, len(tokenizer))
    fields = set(settings)
    for part in [settings, *(v for v in settings.values() if isinstance(v, dict))]:
        part.update({role: token for role, token in ids.items() if role in fields | set(part)})
    if default.is_encoder_decoder:
        settings |= {"decoder_start_token_id": tokenizer.pad_token_id}
    config = kind(**settings, num_labels=3)
    model = T.AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    tiny_models._enlarge(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


TEXTS = [
    "the film was good.",
    "a dull plot, bad actor",
    "unhappy",
    "the bright bright actor was unhappily nice, the film was good, the plot was dull, bad.",
    "not a nice scene",
    "good",
]


def outcome(name: str) -> tuple[str, str]:
    """Return what becomes of one architecture: `right`, `refused`, `fault` or `not built`."""
    import transformers

    from saliency_core.errors import UserError

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "model"
        try:
            build(name, folder)
        except Exception as error:
            return "not built", _sentence(error)
        try:
            return audited(folder, Path(made))
        except UserError as error:
            return "refused", str(error).replace(str(folder), name)
        except Exception as error:
            return "fault", _sentence(error)


def audited(folder: Path, place: Path) -> tuple[str, str]:
    """Audit six texts and compare what is stored with transformers' own logits."""
    import numpy as np

    from saliency_core.model.loading import load_classifier
    from saliency_core.model.proof import own_logits
    from saliency_core.pipeline.run_audit import audit
    from saliency_core.store import open_store

    rows = [json.dumps({"text": text}) for text in TEXTS]
    (place / "rows.jsonl").write_text("\n".join(rows))
    database = place / "out.sqlite"
    result = audit(str(folder), str(place / "rows.jsonl"), db=database, evaluate=False)
    store = open_store(database)
    if result.failed:
        failures = store.run(result.run).examples_at(range(len(TEXTS)))["failure"].dropna()
        return "fault", f"{result.failed} rows failed: {failures.iloc[0]}"
    classifier = load_classifier(str(folder))
    for position, text in enumerate(TEXTS):
        example = store.run(result.run).example(position)
        stored, own = np.array(example["logits"]), own_logits(classifier, text)
        if np.abs(stored - own).max() > 1e-3 * max(1, np.abs(own).max()):
            return "fault", f"stored logits of {text!r} differ by {np.abs(stored - own).max():.2g}"
    return "right", completeness(store, result.run)


def completeness(store: Any, run: int) -> str:
    """Return the rule in use and how much of the difference the layers' scores reach."""
    audited = store.run(run)
    layers = audited.layers()["completeness"].to_numpy(float)
    worst = abs(layers - 1).argmax()
    rule = audited.settings.rule
    if audited.incomplete:
        rule += f", {audited.incomplete} of {len(TEXTS)} texts by the path rule"
    around = "; information flows around a layer" if audited.extra.get("bypassed") else ""
    return f"{rule}; {len(layers)} states, worst completeness {layers[worst]:.3f}{around}"


def _sentence(error: Exception) -> str:
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    lines = str(error).strip().splitlines() or [""]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"{type(error).__name__}: {lines[0][:200]} ({where})"


def in_a_process(name: str) -> tuple[str, str, str]:
    """Return the line of one architecture, worked out in a process of its own."""
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_work, args=(name, there))
    process.start()
    there.close()
    try:
        if not here.poll(SECONDS):
            return name, "fault", f"took more than {SECONDS} seconds"
        return (name, *here.recv())
    except EOFError:
        process.join()
        return name, "fault", f"ended with status {process.exitcode}"
    finally:
        process.kill()
        process.join()


def _work(name: str, pipe: Any) -> None:
    pipe.send(outcome(name))


def main() -> None:
    """Print the table, and how many of each outcome there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="architectures of the mapping")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    arguments = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    os.environ["PYTHONPATH"] = sys.path[0]
    PROCESSES.set_forkserver_preload(
        ["saliency_core.pipeline.run_audit", "tests.support.tiny_models"]
    )
    counts: dict[str, int] = {}
    print("| architecture | outcome | |\n|---|---|---|")
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for name, found, detail in pool.map(in_a_process, arguments.only or names()):
            counts[found] = counts.get(found, 0) + 1
            print(f"| {name} | {found} | {detail.replace('|', '/')} |", flush=True)
    print("\n" + ", ".join(f"{count} {found}" for found, count in sorted(counts.items())))
    sys.exit(1 if counts.get("fault") else 0)


if __name__ == "__main__":
    main()
