"""Speed of an audit against the bare loop of the same passes, and against Captum layer by layer.

    python -m benchmarks.throughput --models ../shared/models

measures, interleaved in one run, on `minilm-sst2` and on a 12-layer base-size BERT with random
weights, at steps 1 and 4:

(a) the bare loop: m forwards and m backwards to the embeddings over the batches of the audit;
(b) the audit: read, tokenize, compute, decode, score, store into SQLite (no evaluation sample);
(c) Captum's LayerGradientXActivation (steps 1) or LayerConductance (steps m), layer by layer,
    the activation of the blank included, which the same map needs.

Every ratio is the median over rounds; a pair of one round ran one after the other. It is taken of
processor seconds, all threads together: work moved to another thread still counts, and what else
the machine does disturbs it least; beside it stands that of the wall clock. What an audit does
once, however many examples follow, stands apart: the blanks (one forward a length) and the layer
summary. (c) runs over a few of the batches, beside (a) over the same few.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from captum.attr import LayerActivation, LayerConductance, LayerGradientXActivation
from scipy.stats import spearmanr
from torch import Tensor, nn
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertForSequenceClassification

from saliency_core.model.classifier import Classifier, Encoding
from saliency_core.pipeline.run_audit import Audit, AuditOptions, encode_examples, plan_batches
from saliency_core.saliency.attributor import Attributor

CAPTUM_BATCHES = 2


@dataclass(frozen=True)
class Spent:
    """Seconds of one piece of work."""

    processor: float
    wall: float


class Clock:
    """Measures what runs inside it; several pieces add up."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.spent = Spent(0.0, 0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add what runs inside."""
        processor, wall = time.process_time(), time.perf_counter()
        yield
        self.spent = Spent(
            self.spent.processor + time.process_time() - processor,
            self.spent.wall + time.perf_counter() - wall,
        )


class TimedAudit(Audit):
    """An audit that tells how long each part took."""

    def run(self):
        """Audit, keeping the seconds of each part."""
        self.examples, self.blanks, self.layers = Clock(), Clock(), Clock()
        add_blank = Attributor._add_blank.__get__(self.attributor)

        def timed(*arguments):
            with self.blanks.running():
                add_blank(*arguments)

        self.attributor._add_blank = timed
        return super().run()

    def _audit_blocks(self, *arguments):
        with self.examples.running():
            super()._audit_blocks(*arguments)

    def _finish(self, *arguments):
        with self.layers.running():
            super()._finish(*arguments)


@dataclass
class Times:
    """What each part of one setting took, a value a round."""

    bare: list[Spent] = field(default_factory=list)
    examples: list[Spent] = field(default_factory=list)
    blanks: list[Spent] = field(default_factory=list)
    layers: list[Spent] = field(default_factory=list)
    captum: list[Spent] = field(default_factory=list)
    bare_few: list[Spent] = field(default_factory=list)


def spent_on(work: Callable[[], object]) -> Spent:
    """Return what a call takes."""
    clock = Clock()
    with clock.running():
        work()
    return clock.spent


def of(clock: str, times: list[Spent]) -> np.ndarray:
    """Return the seconds of one kind of clock."""
    return np.array([getattr(spent, clock) for spent in times])


def save_base_model(folder: Path, tokenizer: str) -> tuple[str, str]:
    """Save a 12-layer base-size BERT and its language model, both with seeded random weights."""
    torch.manual_seed(0)
    words = AutoTokenizer.from_pretrained(tokenizer)
    config = BertConfig(vocab_size=len(words), pad_token_id=words.pad_token_id)
    for kind, name in ((BertForSequenceClassification, "model"), (BertForMaskedLM, "lm")):
        kind(config).save_pretrained(folder / name)
        words.save_pretrained(folder / name)
    return str(folder / "model"), str(folder / "lm")


def batches_of(audit: Audit) -> list[list[Encoding]]:
    """Return the batches the audit computes."""
    block = list(audit.dataset)
    encodings = encode_examples(audit.classifier, block, "truncate")
    planned = plan_batches(block, [None] * len(block), encodings, audit.batch_tokens)
    return [[encodings[row] for row in rows] for rows in planned]


def bare_loop(classifier: Classifier, batches: list[list[Encoding]], steps: int) -> None:
    """Run m forwards and m backwards to the embeddings a batch, and nothing else."""
    made: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple, output: Tensor) -> Tensor:
        made.append(output.requires_grad_(True))
        return output

    hook = classifier.model.get_input_embeddings().register_forward_hook(keep)
    try:
        for encodings in batches:
            batch = classifier.collate(encodings)
            for _ in range(steps):
                made.clear()
                logits = classifier.model(**batch).logits
                torch.autograd.grad(logits.max(-1).values.sum(), made[0])
    finally:
        hook.remove()


def captum_layer_by_layer(
    classifier: Classifier, batches: list[list[Encoding]], steps: int
) -> None:
    """Compute the map of every layer with Captum, one layer after another."""
    body = classifier.model.base_model
    modules = [body.embeddings, *body.encoder.layer]
    classifier.model.requires_grad_(True)

    def logits(ids: Tensor, mask: Tensor) -> Tensor:
        return classifier.model(input_ids=ids, attention_mask=mask).logits

    def logits_of_embeddings(embeddings: Tensor, mask: Tensor) -> Tensor:
        return classifier.model(inputs_embeds=embeddings, attention_mask=mask).logits

    words = classifier.model.get_input_embeddings()
    try:
        for encodings in batches:
            batch = classifier.collate(encodings)
            blank = classifier.collate([classifier.blank(encoding) for encoding in encodings])
            ids, mask = batch["input_ids"], batch["attention_mask"]
            with torch.no_grad():
                target = logits(ids, mask).argmax(-1)
            for module in modules:
                if steps == 1:
                    LayerActivation(logits, module).attribute(blank["input_ids"], mask)
                    LayerGradientXActivation(logits, module).attribute(
                        ids, target, additional_forward_args=(mask,)
                    )
                else:
                    LayerConductance(logits_of_embeddings, module).attribute(
                        words(ids).detach(),
                        words(blank["input_ids"]).detach(),
                        target,
                        additional_forward_args=(mask,),
                        n_steps=steps,
                    )
    finally:
        classifier.model.requires_grad_(False)


class Setting:
    """One model at one number of steps."""

    def __init__(self, model: str, lm_head: str, arguments: argparse.Namespace, steps: int) -> None:
        """Open everything that is not timed."""
        self.steps = steps
        self.options = AuditOptions(
            lm_head=lm_head,
            steps=steps,
            limit=arguments.examples,
            text_column="text",
            label_column="none",
            evaluate=False,
            device=arguments.device,
            dtype=arguments.dtype,
        )
        self.audit = self._open(model, arguments.dataset, arguments.folder)
        self.classifier = self.audit.classifier
        self.batches = batches_of(self.audit)
        self.times = Times()

    def _open(self, model: str, dataset: str, folder: str) -> TimedAudit:
        return TimedAudit(
            model, dataset, Path(folder) / "audit.sqlite", self.options, lambda *progress: None
        )

    def warm_up(self) -> None:
        """Let allocators and caches settle."""
        bare_loop(self.classifier, self.batches[:1] + self.batches[-1:], 1)

    def round(self, with_captum: bool) -> None:
        """Time everything once, neighbours in a ratio one after the other."""
        times, steps = self.times, self.steps
        times.bare.append(spent_on(lambda: bare_loop(self.classifier, self.batches, steps)))
        self._run_audit()
        if with_captum:
            few = self.batches[:: max(1, len(self.batches) // CAPTUM_BATCHES)][:CAPTUM_BATCHES]
            times.bare_few.append(spent_on(lambda: bare_loop(self.classifier, few, steps)))
            times.captum.append(
                spent_on(lambda: captum_layer_by_layer(self.classifier, few, steps))
            )

    def _run_audit(self) -> None:
        """Time one whole audit into a new file, the blanks forgotten."""
        for file in self.audit.db.parent.glob("audit.sqlite*"):
            file.unlink()
        self.audit.attributor.blanks.clear()
        self.audit.attributor.blank_bytes = 0
        self.audit.computed = self.audit.done = 0
        result = self.audit.run()
        assert result.failed == 0, f"{result.failed} examples failed"
        self.times.examples.append(self.audit.examples.spent)
        self.times.blanks.append(self.audit.blanks.spent)
        self.times.layers.append(self.audit.layers.spent)

    def row(self, name: str) -> str:
        """Return the line of the table."""
        times = self.times
        examples = sum(len(batch) for batch in self.batches)
        bare, whole = of("processor", times.bare), of("processor", times.examples)
        blanks = of("processor", times.blanks)
        ratio = np.median((whole - blanks) / bare)
        wall = (of("wall", times.examples) - of("wall", times.blanks)) / of("wall", times.bare)
        cells = [
            name,
            str(self.steps),
            f"{examples / np.median(bare):.1f}",
            f"{examples / np.median(whole - blanks):.1f}",
            f"{ratio:.3f}",
            f"{np.median(wall):.3f}",
            f"{np.median(blanks):.1f} ({len(self.audit.attributor.blanks)})",
            f"{np.median(of('processor', times.layers)):.1f}",
            "",
        ]
        if times.captum:
            against = of("processor", times.captum) / of("processor", times.bare_few)
            layers = self.classifier.info.layers
            cells[-1] = f"{np.median(against) / ratio:.1f} of {layers}"
        return f"| {' | '.join(cells)} |"


def agreement(model: str, lm_head: str, arguments: argparse.Namespace) -> str:
    """Return the speed of bfloat16 against float32 and the rank agreement of every layer."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        options = argparse.Namespace(**vars(arguments) | {"dtype": dtype})
        setting = Setting(model, lm_head, options, 1)
        batches = setting.batches[:: max(1, len(setting.batches) // 4)]
        attributor = Attributor(setting.classifier, steps=1, target="class:" + _first(setting))
        attributor.maps(batches[0], [None] * len(batches[0]))
        maps: list[np.ndarray] = []

        def compute(attributor=attributor, batches=batches, maps=maps) -> None:
            for batch in batches:
                result = attributor.maps(batch, [None] * len(batch))
                maps.append(result.saliency[0].float()[:, result.own].cpu().numpy())

        found[dtype] = (spent_on(compute).processor, np.concatenate(maps, axis=1))  # (layer, token)
    (plain, full), (short, half) = found["float32"], found["bfloat16"]
    ranks = [spearmanr(one, other).statistic for one, other in zip(full, half, strict=True)]
    listed = ", ".join(f"{rank:.3f}" for rank in ranks)
    return f"bfloat16: {plain / short:.2f} x as fast; Spearman by layer {listed}"


def _first(setting: Setting) -> str:
    return setting.classifier.info.label_names[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="../shared/models")
    parser.add_argument("--dataset", default="../shared/data/sst2/dev.jsonl")
    parser.add_argument("--only", choices=["minilm-sst2", "base"], help="one of the models")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--captum-rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--no-agreement", action="store_true", help="leave bfloat16 out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = folder
        models = {
            "minilm-sst2": lambda: (
                f"{arguments.models}/minilm-sst2",
                f"{arguments.models}/minilm-mlm",
            ),
            "base": lambda: save_base_model(Path(folder), f"{arguments.models}/minilm-mlm"),
        }
        print(f"{arguments.examples} examples, {torch.get_num_threads()} threads")
        print(
            "| model | steps | (a) ex/s | (b) ex/s | (b)/(a) | by wall clock | blanks, s | "
            "layer summary, s | (c)/(b) |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for name in [arguments.only] if arguments.only else models:
            model, lm_head = models[name]()
            for steps in arguments.steps:
                setting = Setting(model, lm_head, arguments, steps)
                setting.warm_up()
                for number in range(arguments.rounds):
                    setting.round(number < arguments.captum_rounds)
                print(setting.row(name), flush=True)
            if not arguments.no_agreement:
                print(agreement(model, lm_head, arguments), flush=True)


if __name__ == "__main__":
    main()
