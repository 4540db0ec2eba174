"""Speed of an audit against the bare loop of one forward and one backward, and against Captum.

    python -m benchmarks.throughput --models ../shared/models

measures, interleaved in one run, on `minilm-sst2` and on a 12-layer base-size BERT with random
weights:

(a) the bare loop: one forward and one backward over the same texts, lengths sorted, batches under
    the same token budget, the model's default attention, gradients of all hidden states;
(b) the audit: read, tokenize, compute, decode, score, store into SQLite (no evaluation sample);
(c) Captum's LayerGradientXActivation, layer by layer, and LayerActivation of the reference, which
    the same map in one step needs.

Every ratio is the median over rounds; a pair of one round ran one after the other. By the wall
clock, and by processor seconds, all threads together: work moved to another thread still counts
there. What an audit does once, however many examples follow, stands apart: the layer summary. (c)
runs over a few of the batches, beside (a) over the same few. Peak memory is that of a process of
its own which loads the model and computes every batch once; on a GPU, what torch holds there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from captum.attr import LayerActivation, LayerGradientXActivation
from scipy.stats import spearmanr
from torch import Tensor, nn
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertForSequenceClassification

from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding, length_batches
from saliency_core.pipeline.batching import encode_examples, plan_batches
from saliency_core.pipeline.inputs import open_inputs
from saliency_core.pipeline.options import AuditOptions
from saliency_core.pipeline.run_audit import Audit
from saliency_core.progress import silent
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
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.spent = Spent(
            self.spent.processor + time.process_time() - processor,
            self.spent.wall + time.perf_counter() - wall,
        )


class TimedAudit(Audit):
    """An audit that tells how long each part took."""

    def run(self):
        """Audit, keeping the seconds of each part."""
        self.examples, self.layers = Clock(), Clock()
        return super().run()

    def _compute(self, *arguments):
        with self.examples.running():
            super()._compute(*arguments)

    def _finish(self, *arguments):
        with self.layers.running():
            super()._finish(*arguments)


@dataclass
class Times:
    """What each part of one setting took, a value a round."""

    bare: list[Spent] = field(default_factory=list)
    examples: list[Spent] = field(default_factory=list)
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


def batches_of(classifier: Classifier, encodings: list[Encoding], budget: int) -> list[list]:
    """Return batches of texts of similar length under a token budget, padding included."""
    return [[encodings[row] for row in rows] for rows in length_batches(encodings, budget)]


def bare_loop(classifier: Classifier, batches: list[list[Encoding]]) -> None:
    """Run one forward and one backward to every hidden state a batch, and nothing else."""

    def keep(module: nn.Module, arguments: tuple, output: Tensor) -> Tensor:
        return output.requires_grad_(True)

    hook = classifier.model.get_input_embeddings().register_forward_hook(keep)
    try:
        for encodings in batches:
            output = classifier.model(**classifier.collate(encodings), output_hidden_states=True)
            torch.autograd.grad(output.logits.max(-1).values.sum(), output.hidden_states)
    finally:
        hook.remove()


def captum_layer_by_layer(classifier: Classifier, batches: list[list[Encoding]]) -> None:
    """Compute one gradient times activation for every layer with Captum, one after another."""
    body = classifier.model.base_model
    modules = [body.embeddings, *body.encoder.layer]
    classifier.model.requires_grad_(True)

    def logits(ids: Tensor, mask: Tensor) -> Tensor:
        return classifier.model(input_ids=ids, attention_mask=mask).logits

    try:
        for encodings in batches:
            batch = classifier.collate(encodings)
            ids, mask = batch["input_ids"], batch["attention_mask"]
            references = torch.where(mask.bool(), classifier.tokenizer.mask_token_id, ids)
            with torch.no_grad():
                target = logits(ids, mask).argmax(-1)
            for module in modules:
                LayerActivation(logits, module).attribute(references, mask)
                LayerGradientXActivation(logits, module).attribute(
                    ids, target, additional_forward_args=(mask,)
                )
    finally:
        classifier.model.requires_grad_(False)


def peak_of(work: str, setting: tuple) -> float:
    """Return the peak memory in MB of a fresh process that does one kind of work."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (work, *setting))


def _peak(work: str, arguments: argparse.Namespace, model: str, lm_head: str, rule: str) -> float:
    setting = Setting(model, lm_head, arguments, rule)
    if work == "bare":
        bare_loop(setting.classifier, setting.batches)
    elif work == "maps":
        for batch in setting.audit_batches():
            setting.audit.inputs.attributor.compute(batch, [None] * len(batch))
    if setting.classifier.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Setting:
    """One model under one rule."""

    def __init__(self, model: str, lm_head: str, arguments: argparse.Namespace, rule: str) -> None:
        """Open everything that is not timed."""
        self.rule = rule
        self.options = AuditOptions(
            lm_head=lm_head,
            rule=rule,
            limit=arguments.examples,
            text_column="text",
            label_column="none",
            evaluate=False,
            device=arguments.device,
            dtype=arguments.dtype,
        )
        self.audit = self._open(model, arguments.dataset, arguments.folder)
        self.classifier = self.audit.inputs.classifier
        self.block = list(self.audit.inputs.dataset)
        self.encodings = encode_examples(self.classifier, self.block, "truncate")
        self.batches = batches_of(self.classifier, self.encodings, self.audit.inputs.batch_tokens)
        self.times = Times()

    def audit_batches(self) -> list[list[Encoding]]:
        """Return the batches the audit computes."""
        planned = plan_batches(
            self.block,
            [None] * len(self.block),
            self.encodings,
            self.audit.inputs.batch_tokens,
            self.classifier.pad_token_id,
        )
        return [[self.encodings[row] for row in rows] for rows in planned]

    def _open(self, model: str, dataset: str, folder: str) -> TimedAudit:
        inputs = open_inputs(model, dataset, self.options)
        return TimedAudit(inputs, Path(folder) / "audit.sqlite", silent)

    def warm_up(self) -> None:
        """Let allocators and caches settle."""
        bare_loop(self.classifier, self.batches[:1] + self.batches[-1:])

    def round(self, with_captum: bool) -> None:
        """Time everything once, neighbours in a ratio one after the other."""
        times = self.times
        times.bare.append(spent_on(lambda: bare_loop(self.classifier, self.batches)))
        self._run_audit()
        if with_captum:
            few = self.batches[:: max(1, len(self.batches) // CAPTUM_BATCHES)][:CAPTUM_BATCHES]
            times.bare_few.append(spent_on(lambda: bare_loop(self.classifier, few)))
            times.captum.append(spent_on(lambda: captum_layer_by_layer(self.classifier, few)))

    def _run_audit(self) -> None:
        """Time one whole audit into a new file."""
        for file in self.audit.db.parent.glob("audit.sqlite*"):
            file.unlink()
        result = self.audit.run()
        assert result.failed == 0, f"{result.failed} examples failed"
        self.times.examples.append(self.audit.examples.spent)
        self.times.layers.append(self.audit.layers.spent)

    def row(self, name: str, peaks: list[float]) -> str:
        """Return the line of the table."""
        times = self.times
        ratios = {
            clock: of(clock, times.examples) / of(clock, times.bare)
            for clock in ("wall", "processor")
        }
        cells = [
            name,
            self.rule,
            f"{len(self.block) / np.median(of('wall', times.bare)):.1f}",
            f"{len(self.block) / np.median(of('wall', times.examples)):.1f}",
            *(f"{np.median(of_clock):.2f}" for of_clock in ratios.values()),
            f"{ratios['wall'].min():.2f} to {ratios['wall'].max():.2f}",
            f"{np.median(of('wall', times.layers)):.1f}",
            " / ".join(f"{peak:.0f}" for peak in peaks),
            "",
        ]
        if times.captum:
            against = of("wall", times.captum) / of("wall", times.bare_few)
            layers = self.classifier.info.layers
            cells[-1] = f"{np.median(against) / np.median(ratios['wall']):.1f} of {layers}"
        return f"| {' | '.join(cells)} |"


def agreement(model: str, lm_head: str, arguments: argparse.Namespace) -> str:
    """Return the speed of bfloat16 against float32 and the rank agreement of every layer."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        options = argparse.Namespace(**vars(arguments) | {"dtype": dtype})
        setting = Setting(model, lm_head, options, "secant")
        batches = setting.batches[:: max(1, len(setting.batches) // 4)]
        attributor = Attributor(setting.classifier, target="class:" + _first(setting))
        attributor.maps(batches[0], [None] * len(batches[0]))
        maps: list[np.ndarray] = []
        away: list[np.ndarray] = []

        def compute(attributor=attributor, batches=batches, maps=maps, away=away) -> None:
            for batch in batches:
                result = attributor.maps(batch, [None] * len(batch))
                distance = (result.total - result.change[:, None]).abs()
                away.append((distance / result.change[:, None].abs()).cpu().numpy().ravel())
                maps.append(result.saliency[0].float()[:, result.own].cpu().numpy())

        seconds = spent_on(compute).wall
        found[dtype] = seconds, np.concatenate(maps, axis=1), np.concatenate(away)
    (plain, full, _), (short, half, away) = found["float32"], found["bfloat16"]
    ranks = [spearmanr(one, other).statistic for one, other in zip(full, half, strict=True)]
    listed = ", ".join(f"{rank:.3f}" for rank in ranks)
    return (
        f"bfloat16: {plain / short:.2f} x as fast; Spearman by layer {listed}; completeness is off "
        f"by {np.median(away):.2%} (median), {np.quantile(away, 0.95):.2%} (95 %)"
    )


def _first(setting: Setting) -> str:
    return setting.classifier.info.label_names[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="../shared/models")
    parser.add_argument("--dataset", default="../shared/data/sst2/train.jsonl.gz")
    parser.add_argument("--only", choices=["minilm-sst2", "base"], help="one of the models")
    parser.add_argument("--rules", nargs="+", default=["secant", "path"])
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--captum-rounds", type=int, default=2)
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
            "| model | rule | (a) ex/s | (b) ex/s | (b)/(a), wall clock | by processor | range | "
            "layer summary, s | peak MB: model / (a) / (b) | (c)/(b) |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        for name in [arguments.only] if arguments.only else models:
            model, lm_head = models[name]()
            for rule in arguments.rules:
                given = (arguments, model, lm_head, rule)
                peaks = [peak_of(work, given) for work in ("nothing", "bare", "maps")]
                setting = Setting(model, lm_head, arguments, rule)
                setting.warm_up()
                for number in range(arguments.rounds):
                    setting.round(number < arguments.captum_rounds)
                print(setting.row(name, peaks), flush=True)
            if not arguments.no_agreement:
                print(agreement(model, lm_head, arguments), flush=True)


if __name__ == "__main__":
    main()
