"""The finished student on the test split: its scores and its calibration come from one look."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from torch import Tensor

from engine.data import Split
from engine.evaluation import predict_logits
from engine.loop.preparation import Prepared
from engine.measuring import yardstick
from engine.measuring.yardstick import Yardstick
from tests.engine.pruned_runs import prepared_for, random_bert
from tests.engine.tiny_bert import TEXTS


def material(shows_accuracy: bool = True) -> Prepared:
    plain = prepared_for(random_bert())
    ids = plain.train_ids
    parts = {"train": ids, "validation": ids[:20], "test": ids[20:]}
    splits = {
        name: Split([TEXTS[number % len(TEXTS)] for number in range(len(some))], [len(each) % 3 for each in some])
        for name, some in parts.items()
    }
    data = cast(Any, SimpleNamespace(**splits))
    return replace(plain, data=data, test_ids=parts["test"], shows_accuracy=shows_accuracy)


def test_the_finished_student_reads_each_split_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = material()
    looks: list[Sequence[Sequence[int]]] = []

    def look(model: Any, ids: Sequence[Sequence[int]], pad_id: int) -> Tensor:
        looks.append(ids)
        return predict_logits(model, ids, pad_id)

    measuring = Yardstick(prepared, "fp32")
    monkeypatch.setattr(yardstick, "predict_logits", look)
    student = random_bert(seed=3)
    found, calibration = measuring.finished(student, prepared)
    assert looks == [prepared.validation_ids, prepared.test_ids]
    assert found == measuring.test_scores(student, prepared)
    assert found != measuring.validation_scores(student, prepared), "or nothing tells the splits apart"
    assert calibration is not None
    assert (calibration.report.fitted_on, calibration.report.measured_on) == (20, 20)


def test_a_shape_without_meaning_has_neither_scores_nor_calibration() -> None:
    prepared = material(shows_accuracy=False)
    assert Yardstick(prepared, "fp32").finished(prepared.dense, prepared) == (None, None)
