"""Learning from the unpruned base: its logits, computed once, and the loss.

Hinton, Vinyals & Dean 2015 (https://arxiv.org/abs/1503.02531, section 2): the student matches the teacher's softened
distribution; the factor T squared keeps the gradient's size independent of the temperature T.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from engine.storage import replace_file


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


def save_teacher(logits: Tensor, path: Path, material: str) -> None:
    """Keep the teacher's logits, shape (texts, labels), for a later part of the same run; ``material`` says whose of what."""
    metadata = {"material": material}
    replace_file(path, lambda temporary: save_file({"logits": logits.contiguous().cpu()}, temporary, metadata))


def load_teacher(path: Path, material: str) -> Tensor | None:
    """Return the kept logits, or None where there are none of this teacher over these texts."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("material") != material:
                return None
            logits: Tensor = file.get_tensor("logits")
            return logits
    except (OSError, SafetensorError):  # not there, or torn: to be computed again
        return None
