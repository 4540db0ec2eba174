"""Parts of a checkpoint from a folder or the hub; what is wrong with its files in one sentence."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers.utils import cached_file

from saliency_core.errors import UserError, first_line

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "tekken.json")
"""Files that hold a vocabulary, beside those that the tokenizer's own class names."""
LFS_POINTER = b"version https://git-lfs"
LONGEST_HEADER = 100_000_000
"""Bytes that the safetensors library takes for a header at most."""


def from_hub(factory: Any, name: str, what: str, **options: Any) -> Any:
    """Call from_pretrained; what a user can cause becomes one sentence.

    Raises:
        UserError: for whatever goes wrong in there: which errors a broken file, a missing package
            or a strange configuration cause depends on the architecture.
    """
    path = Path(name)
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_path and not path.exists():
        raise UserError(f"There is no folder {name!r}; give a model folder or a hub name.")
    if path.is_file():
        raise UserError(f"{name!r} is a file; give the folder of the model or a hub name.")
    try:
        with quiet_loading():
            return factory.from_pretrained(name, **options)
    except Exception as error:
        raise UserError(f"Can't load the {what} of {name!r}: {_reason(name, error)}") from error


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep transformers from showing its bars and reports; they would surround our one sentence."""
    logging = transformers.utils.logging
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _reason(name: str, error: Exception) -> str:
    """Return what is wrong with the files, else the first line of what was raised."""
    folder = Path(name)
    if folder.is_dir():
        for file in sorted(folder.iterdir()):
            fault = file_fault(file) if file.is_file() else None
            if fault:
                return f"{file.name} {fault}"
    return first_line(error)


def file_fault(file: Path) -> str | None:
    """Return what is wrong with a file of a checkpoint, None where nothing is seen from outside."""
    if file.suffix not in (".safetensors", ".bin", ".json", ".model", ".txt"):
        return None
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(64)
    if not size:
        return "is empty; copy it again."
    if start.startswith(LFS_POINTER):
        return "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`."
    if file.suffix == ".json":
        return _json_fault(file)
    if file.suffix in (".model", ".txt"):
        return None
    if start.lstrip().startswith(b"<"):
        return "is a web page, not weights; download it again."
    return _safetensors_fault(file) if file.suffix == ".safetensors" else _pickle_fault(file, start)


def _json_fault(file: Path) -> str | None:
    try:
        json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        return f"is not valid JSON ({error}); copy it again."
    return None


def _safetensors_fault(file: Path) -> str | None:
    """Check a safetensors file by its header, which says how long the file is."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        prefix = opened.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size + 1
        if length > min(size, LONGEST_HEADER):
            return "is cut short or no safetensors file; copy it again."
        try:
            header = json.loads(opened.read(length))
            ends = [
                entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"
            ]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return "has a damaged header; copy it again."
    whole = 8 + length + max(ends, default=0)
    if whole != size:
        return f"is of {size} bytes, its header speaks of {whole}; copy it again."
    return None


def _pickle_fault(file: Path, start: bytes) -> str | None:
    """Check a file of torch.save: a whole ZIP file, or a pickle of torch's older format."""
    if start.startswith(b"PK"):
        return None if zipfile.is_zipfile(file) else "is cut short; copy it again."
    try:
        torch.load(file, map_location="meta", weights_only=True)
    except Exception:
        return (
            "is a pickle that holds more than weights, or is damaged. Nothing of it was run; save "
            "the weights with save_pretrained, which writes model.safetensors."
        )
    return None


def refuse_missing(name: str, loading: dict[str, Any], lacks: str, fix: str) -> None:
    """Refuse a model some of whose weights would be random, or do not fit the configuration.

    By what transformers reports of the loading. `lacks` goes on after the name of a model without
    some of its weights, `fix` is a sentence on what to do then.
    """
    for key, stored, wanted in sorted(loading["mismatched_keys"]):
        raise UserError(
            f"The weights of {name} don't fit its config.json: {key} is of shape {tuple(stored)}, "
            f"the configuration asks for {tuple(wanted)}."
        )
    missing = sorted(loading["missing_keys"])
    if missing:
        raise UserError(
            f"{name} {lacks} ({', '.join(missing[:4])}{' ...' if len(missing) > 4 else ''} would "
            f"be random). {fix}"
        )


def refuse_not_finite(name: str, model: nn.Module) -> None:
    """Refuse weights that hold NaN or infinite numbers."""
    for key, parameter in model.named_parameters():
        broken = int((~torch.isfinite(parameter)).sum())
        if broken:
            raise UserError(
                f"The weights of {name} hold NaN or infinite numbers: {broken} of "
                f"{parameter.numel()} in {key}. Training diverged or the file is damaged."
            )


def refuse_adapter(name: str) -> None:
    """Refuse a folder that holds an adapter without the model that it adapts."""
    folder = Path(name)
    description = folder / "adapter_config.json"
    if not description.is_file():
        return
    if any(folder.glob("model*.safetensors")) or any(folder.glob("pytorch_model*.bin")):
        return
    try:
        base = json.loads(description.read_text("utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError):
        base = None
    raise UserError(
        f"{name} is an adapter of {base or 'another model'}, without that model's weights: merge "
        "it first (load it with peft, then merge_and_unload() and save_pretrained(FOLDER)) and "
        "audit that folder."
    )


def has_tokenizer_files(name: str, tokenizer: Any, revision: str | None = None) -> bool:
    """Return whether a checkpoint holds a vocabulary: without, transformers makes an empty one.

    `tokenizer` is what was loaded, None where that failed.
    """
    own = getattr(tokenizer, "vocab_files_names", {}).values()
    files = {*TOKENIZER_FILES, *own} - {"tokenizer_config.json"}
    folder = Path(name)
    if folder.is_dir():
        given = any((folder / file).is_file() for file in files)
        return given or any(file.suffix in (".model", ".tiktoken") for file in folder.iterdir())
    return any(
        cached_file(
            name,
            file,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
        for file in sorted(files)
    )
