"""The distillation loss and the kept teacher."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from engine.distillation import distillation_loss, load_teacher, save_teacher


@given(temperature=st.floats(0.5, 10), seed=st.integers(0, 1000))
def test_loss_equals_the_formula_that_nn_pruning_trains_with(temperature: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(6, 12, generator=generator), torch.randn(6, 12, generator=generator)
    theirs = (
        functional.kl_div(
            functional.log_softmax(student / temperature, dim=-1),
            functional.softmax(teacher / temperature, dim=-1),
            reduction="batchmean",
        )
        * temperature**2
    )
    torch.testing.assert_close(distillation_loss(student, teacher, temperature), theirs, atol=1e-5, rtol=1e-4)


def test_loss_is_zero_only_where_the_student_agrees() -> None:
    logits = torch.randn(4, 3)
    assert float(distillation_loss(logits, logits + 5.0, 2.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(distillation_loss(logits, -logits, 2.0)) > 0


def test_gradient_keeps_its_size_over_temperatures() -> None:
    sizes = []
    for temperature in (8.0, 16.0):
        student = torch.tensor([[1.0, 0.0, -1.0]], requires_grad=True)
        distillation_loss(student, torch.tensor([[0.0, 1.0, 0.0]]), temperature).backward()
        assert student.grad is not None
        sizes.append(float(student.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_teacher_logits_are_kept_for_the_same_texts_and_teacher_only(tmp_path: Path) -> None:
    logits = torch.randn(5, 3)
    path = tmp_path / "teacher.safetensors"
    assert load_teacher(path, "these") is None
    save_teacher(logits, path, "these")
    loaded = load_teacher(path, "these")
    assert loaded is not None
    assert torch.equal(loaded, logits)
    assert load_teacher(path, "other texts, as many") is None
    path.write_bytes(path.read_bytes()[:-4])
    assert load_teacher(path, "these") is None, "a torn file is computed again"
