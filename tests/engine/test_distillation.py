"""The distillation loss and the kept teacher."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.nn import functional

from engine.distillation import Teacher, Told, distillation_loss, load_teacher, parts_of, save_teacher
from engine.model import random_model
from engine.shapes import Shape


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


def test_what_the_teacher_said_is_kept_for_the_same_texts_and_teacher_only(tmp_path: Path) -> None:
    told = Told(torch.randn(5, 3), torch.tensor([True, False]), torch.tensor(1.5))
    path = tmp_path / "teacher.safetensors"
    assert load_teacher(path, "these") is None
    save_teacher(told, path, "these")
    loaded = load_teacher(path, "these")
    assert loaded is not None
    assert torch.equal(loaded.logits, told.logits)
    assert torch.equal(loaded.known, told.known)
    assert float(loaded.spent_s) == 1.5
    assert load_teacher(path, "other texts, as many") is None
    path.write_bytes(path.read_bytes()[:-4])
    assert load_teacher(path, "these") is None, "a torn file is asked for again"
    save_file({"logits": told.logits}, path, {"material": "these"})
    assert load_teacher(path, "these") is None, "nor is it known which rows of this one mean something"


IDS = [[2, *range(5, 5 + length), 3] for length in (1, 7, 3, 3, 5, 2, 9, 4, 6)]
PARTS = parts_of([[4, 0], [8, 3], [1], [2, 6], [5, 7]], together=2)


def asked(told: Told | None = None) -> tuple[Teacher, list[list[list[int]]]]:
    """Return a teacher and the list of what its model is asked about."""
    torch.manual_seed(0)
    model = random_model(Shape(1, 16, 2, 32, 30, 3, positions=16), ["a", "b", "c"], seed=0).eval()
    teacher, questions = Teacher(model, IDS, 0, PARTS, told), []

    def listen(_: object, __: object, named: dict[str, torch.Tensor]) -> None:
        questions.append(named["input_ids"].tolist())

    model.register_forward_pre_hook(listen, with_kwargs=True)
    return teacher, questions


def test_the_teacher_answers_as_its_model_does_and_is_asked_about_each_text_once() -> None:
    teacher, questions = asked()
    assert PARTS == [[4, 0, 8, 3], [1, 2, 6], [5, 7]]
    assert (len(teacher), teacher.complete) == (len(IDS), False)
    first = teacher.logits([0, 8])
    read = [[token for token in row if token] for batch in questions for row in batch]
    assert sorted(read) == sorted(IDS[index] for index in PARTS[0]), "a part at a time, none for nothing"
    with torch.no_grad():
        alone = teacher._model(input_ids=torch.tensor([IDS[8]])).logits
    torch.testing.assert_close(first[1:], alone, atol=1e-6, rtol=0)
    before = len(questions)
    assert torch.equal(teacher.logits([8, 0, 4]), torch.stack([first[1], first[0], teacher.logits([4])[0]]))
    assert len(questions) == before, "what was said is not asked again"
    teacher.logits([7, 1])
    assert teacher.complete
    assert teacher.spent_s > 0
    assert teacher.left_s == 0.0


def test_the_answers_are_the_same_bits_whoever_asks_first_and_over_a_stop() -> None:
    whole, _ = asked()
    in_order = whole.logits(range(len(IDS)))
    parted, _ = asked()
    parted.logits([6])
    assert parted.left_s == pytest.approx(2 * parted.spent_s), "two parts of three are left"
    later, questions = asked(parted.told)
    assert later.spent_s == parted.spent_s
    assert torch.equal(later.logits([5, 1, 0]), in_order[[5, 1, 0]])
    assert not any(IDS[6] == row[: len(IDS[6])] for batch in questions for row in batch)
    assert torch.equal(later.logits(range(len(IDS))), in_order)
