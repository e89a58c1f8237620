"""Learning from the unpruned base: its logits, each computed once, and the loss.

Hinton, Vinyals & Dean 2015 (https://arxiv.org/abs/1503.02531, section 2): the student matches the teacher's softened
distribution; the factor T squared keeps the gradient's size independent of the temperature T.
"""

import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import BertForSequenceClassification

from engine.evaluation import predict_logits
from engine.files.storage import replace_file


def distillation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return T^2 x KL(teacher || student) of the softened distributions, averaged over the batch.

    Args:
        student_logits: shape (batch, labels).
        teacher_logits: shape (batch, labels).
        temperature: T, above 0; at 1 the distributions are the models' own.
    """
    student = functional.log_softmax(student_logits.float() / temperature, dim=-1)
    teacher = functional.log_softmax(teacher_logits.float() / temperature, dim=-1)
    return functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


class Told(NamedTuple):
    """What a teacher has said so far."""

    logits: Tensor
    """Shape (texts, labels), fp32; rows of parts that were not asked about mean nothing."""
    known: Tensor
    """Shape (parts,), bool: which parts were asked about."""
    spent_s: Tensor
    """Seconds that took, no dimensions."""


class Teacher:
    """The unpruned base's logits over the training split, computed when they are first asked for and kept.

    Texts are asked about in fixed parts, so the answers are the same to the last bit whichever step asks first: padding and
    the size of a batch change a float's last digits. Nobody waits for the whole split before the first step.
    """

    def __init__(
        self,
        model: BertForSequenceClassification,
        ids: Sequence[Sequence[int]],
        pad_id: int,
        parts: Sequence[Sequence[int]],
        told: Told | None = None,
    ) -> None:
        """Make a teacher of a model.

        Args:
            model: the unpruned base, on the device that trains.
            ids: every training text in the tokens of that model.
            pad_id: its padding token.
            parts: indices of texts that are asked about together; each text in one part.
            told: what an earlier part of the same run was told.
        """
        self._model, self._ids, self._pad_id, self._parts = model, ids, pad_id, parts
        self._part_of = {index: number for number, part in enumerate(parts) for index in part}
        device = model.classifier.weight.device
        if told is None:
            told = Told(
                torch.zeros(len(ids), model.config.num_labels),
                torch.zeros(len(parts), dtype=torch.bool),
                torch.tensor(0.0, dtype=torch.float64),
            )
        self._logits = told.logits.to(device)
        self._known: list[bool] = told.known.tolist()
        self.spent_s = float(told.spent_s)
        """Seconds of asking, over all parts of the run."""

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def complete(self) -> bool:
        """Whether every text has been asked about."""
        return all(self._known)

    @property
    def told(self) -> Told:
        return Told(self._logits, torch.tensor(self._known), torch.tensor(self.spent_s, dtype=torch.float64))

    @property
    def left_s(self) -> float:
        """Seconds that asking about the rest should take."""
        asked = sum(self._known)
        return self.spent_s / asked * (len(self._known) - asked) if asked else 0.0

    def ask(self, indices: Sequence[int]) -> float:
        """Have the logits of these training texts at hand; return how many seconds that took."""
        before_s = self.spent_s
        for number in sorted({self._part_of[index] for index in indices}):
            if not self._known[number]:
                began, part = time.perf_counter(), self._parts[number]
                found = predict_logits(self._model, [self._ids[index] for index in part], self._pad_id)
                self._logits[part] = found.to(self._logits.device)
                self._known[number] = True
                self.spent_s += time.perf_counter() - began
        return self.spent_s - before_s

    def logits(self, indices: Sequence[int]) -> Tensor:
        """Return the logits of these training texts, shape (texts, labels), fp32 on the model's device."""
        self.ask(indices)
        return self._logits[indices]


def parts_of(batches: Sequence[Sequence[int]], together: int) -> list[list[int]]:
    """Join so many neighbouring batches of the first epoch into one part for the teacher."""
    return [list(chain(*batches[start : start + together])) for start in range(0, len(batches), together)]


def save_teacher(told: Told, path: Path, material: str) -> None:
    """Keep what the teacher has said for a later part of the same run; ``material`` says whose words about what."""
    metadata = {"material": material}
    tensors = {name: value.contiguous().cpu() for name, value in told._asdict().items()}
    replace_file(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_teacher(path: Path, material: str) -> Told | None:
    """Return what was kept, or None where there is nothing of this teacher about these texts."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("material") != material or set(file.keys()) != set(Told._fields):
                return None
            return Told(*(file.get_tensor(name) for name in Told._fields))
    except (OSError, SafetensorError):  # not there, or torn: to be asked again
        return None
