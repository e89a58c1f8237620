"""A student that is trained on made-up tokens for some steps: what a run does between two steps, without files and events."""

import copy
import json
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertForSequenceClassification, BertTokenizer

from engine.config import PruningConfig, RunConfig
from engine.events import Compacted, Event
from engine.loop.optimization import make_optimizer
from engine.loop.preparation import Prepared
from engine.loop.student import Student
from engine.model import random_model
from engine.shapes import Shape

LABELS = ["a", "b", "c"]
TOKENS = 60


def random_bert(
    layers: int = 2, width: int = 64, seed: int = 0, *, hidden: int = 32, heads: int = 2, spread: float = 0.1
) -> BertForSequenceClassification:
    """Return a small BERT with random biases too, so that a forgotten one shows."""
    shape = Shape(layers, hidden, heads, width, vocabulary=TOKENS, labels=len(LABELS), positions=32)
    model = random_model(shape, LABELS, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * spread)
    return model


def random_texts(seed: int = 0, texts: int = 6, tokens: int = 11) -> list[dict[str, Tensor]]:
    """Return a batch without and one with padding."""
    ids = torch.randint(1, TOKENS, (texts, tokens), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[: texts // 2, tokens // 2 :] = 0
    return [{"input_ids": ids}, {"input_ids": ids * mask, "attention_mask": mask}]


class _Padding:
    pad_token_id = 0


def prepared_for(model: BertForSequenceClassification) -> Prepared:
    """Return the material of a run on this base, with made-up texts."""
    generator = torch.Generator().manual_seed(7)
    ids = [torch.randint(1, TOKENS, (3 + number % 9,), generator=generator).tolist() for number in range(40)]
    return Prepared(
        device=torch.device("cpu"),
        data=cast(Any, None),
        tokenizer=cast(BertTokenizer, _Padding()),
        dense=model,
        trained=True,
        head="by name",
        shows_accuracy=True,
        distilling=False,
        max_length=32,
        train_ids=ids,
        validation_ids=ids[:20],
        test_ids=ids[:20],
    )


class PrunedRun:
    """The steps of a run; the same settings give the same run to the last bit."""

    def __init__(self, model: BertForSequenceClassification, pruning: PruningConfig, total_steps: int) -> None:
        self.base, self.pruning, self.total_steps = model, pruning, total_steps
        self.student = Student(prepared_for(model), pruning, total_steps)
        self.optimizer = make_optimizer(self.student.model, RunConfig(pruning=pruning), 1e-2, fused=True)
        self.step = 0
        self.events: list[Event] = list(self.student.at_start())
        self.student.model.train()

    @property
    def model(self) -> BertForSequenceClassification:
        return self.student.model

    @property
    def compactions(self) -> list[Compacted]:
        return [event for event in self.events if isinstance(event, Compacted)]

    def train(self, until: int | None = None) -> "PrunedRun":
        """Take the steps up to this one."""
        while self.step < (self.total_steps if until is None else until):
            self.events.extend(self.student.before_step(self.step, self.optimizer))
            torch.manual_seed(self.step)  # of dropout
            inputs = random_texts(self.step)[self.step % 2]
            labels = torch.randint(0, 3, (6,), generator=torch.Generator().manual_seed(self.step))
            loss = functional.cross_entropy(self.model(**inputs).logits, labels)
            penalty = self.student.penalty()
            (loss if penalty is None else loss + penalty).backward()
            self.optimizer.step()
            self.student.after_step()
            self.optimizer.zero_grad()
            self.step += 1
        return self

    def resumed(self) -> "PrunedRun":
        """Return a new run that goes on from what is saved of this one, as in `loop.resuming.restore`."""
        facts = json.loads(json.dumps(self.student.facts()))
        weights = {name: value.detach().cpu().contiguous().clone() for name, value in self.model.state_dict().items()}
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        run = PrunedRun(self.base, self.pruning, self.total_steps)
        run.student.restore(facts, weights, run.optimizer)
        run.optimizer.load_state_dict(optimizer)
        run.step = self.step
        return run


def same_weights(first: PrunedRun, second: PrunedRun) -> bool:
    """Tell whether two runs are at the very same weights, moments and units."""
    one, other = first.model.state_dict(), second.model.state_dict()
    moments, others = first.optimizer.state_dict()["state"], second.optimizer.state_dict()["state"]
    return (
        first.student.kept == second.student.kept
        and one.keys() == other.keys()
        and all(torch.equal(one[name], other[name]) for name in one)
        and moments.keys() == others.keys()
        and all(torch.equal(moments[key][name], others[key][name]) for key in moments for name in moments[key])
    )
