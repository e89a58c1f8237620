"""The model that is being trained, what masks it now, and what has been taken out of it so far."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from engine.compaction import (
    Kept,
    KeptLayer,
    compact_in_place,
    compose,
    is_stock,
    max_logit_difference,
    plain_copy,
    whole,
)
from engine.config import PruningConfig
from engine.errors import TrainingError
from engine.evaluation import collate
from engine.events import Compacted, MaskMoved, Notice, VocabularyTrimmed
from engine.loop.preparation import Prepared
from engine.loop.snapshots import picture_steps, take_picture
from engine.methods.dropping import keep_outer_layers, layers_to_drop
from engine.methods.vocabulary import Vocabulary, measure_vocabulary, trim_embedding, trim_vocabulary
from engine.pruning import DensitySchedule, Pruner, make_pruner
from engine.records import VocabularyReport
from engine.texts.tokenization import encode

TOLERANCE = 1e-4
"""Largest difference between masked and compacted logits, relative to the largest logit where that is above 1."""


class Student:
    """A copy of the dense base on its way to become smaller."""

    def __init__(self, prepared: Prepared, config: PruningConfig, total_steps: int) -> None:
        self.config = config
        self.schedule = DensitySchedule.of(config, total_steps)
        self.model: BertForSequenceClassification = prepared.new_student()
        self.tokenizer = prepared.tokenizer
        self.train_ids, self.validation_ids, self.test_ids = (
            prepared.train_ids,
            prepared.validation_ids,
            prepared.test_ids,
        )
        self._prepared = prepared
        self.vocabulary: Vocabulary | None = None
        """The tokens that are left, where it is not all of them."""
        self.vocabulary_report: VocabularyReport | None = None
        if config.vocabulary == "training":
            self._trim_vocabulary()
        self._base = whole(self.model)
        self.kept: Kept = self._base
        """What is left of the base, in the base's numbering."""
        dropped = layers_to_drop(config, len(self._base))
        if dropped:
            self.kept = keep_outer_layers(self._base, dropped)
            compact_in_place(self.model, self.kept)
        self.pruner = make_pruner(self.model, config, self.schedule)
        self._picture_steps = picture_steps(self.pruner.turns() if self.pruner else ())
        self._masked = False
        """Whether anything has been masked yet."""

    def _trim_vocabulary(self) -> None:
        """Go on with the tokens that the training texts use; the dense base keeps all of its own."""
        prepared = self._prepared
        self.vocabulary = trim_vocabulary(prepared.tokenizer, prepared.data.train.texts)
        self.tokenizer = self.vocabulary.tokenizer
        self.train_ids = self.vocabulary.from_base(prepared.train_ids)
        self.validation_ids = encode(self.tokenizer, prepared.data.validation.texts, prepared.max_length)
        self.test_ids = encode(self.tokenizer, prepared.data.test.texts, prepared.max_length)
        trim_embedding(self.model, self.vocabulary.kept)

    @property
    def pad_id(self) -> int:
        """The token that fills up the student's shorter texts."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def density(self) -> float:
        """Share of the units the method prunes that stay now."""
        if self.pruner is not None:
            return self.pruner.density
        return len(self.kept) / len(self._base) if self.config.method == "layer-dropping" else 1.0

    def density_target(self, step: int) -> float:
        """Return the density that the schedule asks for during a step."""
        return self.schedule.at(step) if self.pruner is not None else self.density

    def smaller(self) -> BertForSequenceClassification:
        """Return a plain copy, made as small as the masks of now allow."""
        if self.pruner is None or self.pruner.settled:
            return plain_copy(self.model)
        return self._reduced(self.pruner, self.pruner.kept())

    def _reduced(self, pruner: Pruner, kept: Kept) -> BertForSequenceClassification:
        twin = plain_copy(self.model)
        pruner.bake(twin)
        compact_in_place(twin, kept)
        return twin

    def before_step(self, step: int, optimizer: torch.optim.Optimizer) -> Iterator[MaskMoved | Compacted | Notice]:
        """Prepare optimizer step ``step``, counted from 0: set masks, and shrink model and optimizer where units go for good.

        Raises:
            TrainingError: if the smaller model would not compute what the masked one did.
        """
        pruner = self.pruner
        if pruner is None or pruner.settled:
            return
        kept = pruner.before_step(step)
        if step in self._picture_steps or (pruner.density < 1.0 and not self._masked):
            yield self._picture(step, pruner, kept)
        self._masked = self._masked or pruner.density < 1.0
        last = step >= self.schedule.cooldown_start
        if kept is not None:
            difference = self._compare(pruner, kept, texts=64 if last else 16)
            with torch.no_grad():
                pruner.bake(self.model)
            if last:
                pruner.detach()
            compact_in_place(self.model, kept, optimizer)
            self.kept = compose(self.kept, kept)
        if last:
            pruner.settle()
        if kept is not None:
            yield self.describe(step, difference, by_name=last)
        if last and pruner.note:
            yield Notice(message=pruner.note)

    def _picture(self, step: int, pruner: Pruner, kept: Kept | None) -> MaskMoved:
        """Describe the mask of now; ``kept`` is what `Pruner.before_step` said."""
        after = compose(self.kept, pruner.kept() if kept is None else kept)
        return take_picture(step, pruner.density, self._base, self.kept, after, pruner.evidence())

    def at_start(self) -> Iterator[VocabularyTrimmed | Compacted]:
        """Say what went before the first step."""
        if self.vocabulary is not None:
            self.vocabulary_report = measure_vocabulary(self._prepared, self.vocabulary, self.validation_ids)
            yield VocabularyTrimmed(report=self.vocabulary_report)
        if self.kept != self._base:
            yield self.describe(0)

    def describe(self, step: int, difference: float = 0.0, *, by_name: bool = True) -> Compacted:
        """Say what is left of the base; each unit by name where it stays for good, as the lists are long."""
        removed = sum(len(self._base[layer.number].heads) - len(layer.heads) for layer in self.kept)
        return Compacted(
            step=step,
            kept_layers=tuple(layer.number for layer in self.kept),
            intermediate_sizes=tuple(len(layer.neurons) for layer in self.kept),
            kept_neurons=tuple(layer.neurons for layer in self.kept) if by_name else (),
            kept_heads=tuple(layer.heads for layer in self.kept) if by_name else (),
            heads_removed=removed,
            stock=is_stock(self.model),
            max_logit_difference=difference,
        )

    def _compare(self, pruner: Pruner, kept: Kept, texts: int) -> float:
        """Return how far the logits of masked and compacted model lie apart on so many validation texts."""
        ids = self.validation_ids[:texts]
        device = self._prepared.device
        inputs = [collate(ids[start : start + 16], self.pad_id, device) for start in range(0, len(ids), 16)]
        difference, largest = max_logit_difference(self.model, self._reduced(pruner, kept), inputs)
        if not difference <= TOLERANCE * max(1.0, largest):
            raise TrainingError(
                f"The compacted model's logits differ from the masked model's by {difference:g} (at most {TOLERANCE:g} is right). "
                "This is a fault of the program, not of your settings; the last saved state is kept. Please report it."
            )
        return difference

    def penalty(self) -> Tensor | None:
        """Return what the pruning method adds to the loss, or None."""
        return self.pruner.penalty() if self.pruner is not None else None

    def after_step(self) -> None:
        """Let the pruning method follow the optimizer's step."""
        if self.pruner is not None:
            self.pruner.after_step()

    def facts(self) -> dict[str, Any]:
        """Return what `restore` needs beside the weights, as JSON."""
        return {
            "kept": [list(layer) for layer in self.kept],
            "settled": bool(self.pruner and self.pruner.settled),
            "density": self.pruner.density if self.pruner else None,
            "masked": self._masked,
            "vocabulary": self.vocabulary_report.model_dump(mode="json") if self.vocabulary_report else None,
        }

    def restore(self, facts: dict[str, Any], weights: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Take the shape and the weights of a saved student."""
        if facts["vocabulary"]:
            self.vocabulary_report = VocabularyReport.model_validate(facts["vocabulary"])
        before = {layer.number: place for place, layer in enumerate(self.kept)}
        kept = tuple(
            _relative(self.kept[before[number]], before[number], heads, neurons)
            for number, heads, neurons in facts["kept"]
        )
        if facts["settled"] and self.pruner is not None:
            self.pruner.detach()
        compact_in_place(self.model, kept, optimizer)
        self.kept = compose(self.kept, kept)
        self.model.load_state_dict(weights)
        if self.pruner is not None:
            self.pruner.density = facts["density"]
            self._masked = facts.get("masked", facts["density"] < 1.0)  # states saved by an older version do not say
            if facts["settled"]:
                self.pruner.settle()


def _relative(now: KeptLayer, place: int, heads: Sequence[int], neurons: Sequence[int]) -> KeptLayer:
    """Name units of the base by their places in a layer that holds some of them."""
    head, neuron = {unit: at for at, unit in enumerate(now.heads)}, {unit: at for at, unit in enumerate(now.neurons)}
    return KeptLayer(place, tuple(head[unit] for unit in heads), tuple(neuron[unit] for unit in neurons))
