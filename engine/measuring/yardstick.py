"""The dense base and the student, measured by one rule: same texts, same device, same precision, in turns."""

import copy
from typing import Protocol

import torch
from transformers import BertForSequenceClassification

from engine.data import Split
from engine.evaluation import measure, measure_latency, predict_logits, scores
from engine.loop.preparation import Prepared
from engine.measuring.calibration import Calibration, fit_calibration
from engine.records import Latency, Measurement


class Encoded(Protocol):
    """Texts as the token ids of one model's own vocabulary; `Prepared` has the dense base's, `Student` the student's."""

    validation_ids: list[list[int]]
    test_ids: list[list[int]]

    @property
    def pad_id(self) -> int: ...


DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


class Yardstick:
    """Measures models of one run; accuracy in fp32 as the model is saved, latency in the run's precision."""

    def __init__(self, prepared: Prepared, precision: str) -> None:
        self._prepared = prepared
        self._precision = precision
        self._dense_timed = self._timed(prepared.dense)

    def baseline(self) -> Measurement:
        """Measure the dense base on the validation split."""
        latency = measure_latency([self._dense_timed], self._prepared.max_length)[0]
        return measure(
            self._prepared.dense, latency, validation=self.validation_scores(self._prepared.dense, self._prepared)
        )

    def student(self, small: BertForSequenceClassification, texts: Encoded) -> tuple[Measurement, Latency]:
        """Measure a compacted student on the validation split, and the dense base's latency beside it."""
        dense_latency, latency = self.latencies(small)
        return measure(small, latency, validation=self.validation_scores(small, texts)), dense_latency

    def validation_scores(self, model: BertForSequenceClassification, texts: Encoded) -> tuple[float, float] | None:
        """Return accuracy and macro-F1 on the validation split, or None for a shape without meaning."""
        return self._scores(model, texts.validation_ids, texts.pad_id, self._prepared.data.validation)

    def test_scores(self, model: BertForSequenceClassification, texts: Encoded) -> tuple[float, float] | None:
        """Return accuracy and macro-F1 on the test split; asked for once, at the end."""
        return self._scores(model, texts.test_ids, texts.pad_id, self._prepared.data.test)

    def finished(
        self, model: BertForSequenceClassification, texts: Encoded
    ) -> tuple[tuple[float, float] | None, Calibration | None]:
        """Return the test scores of the finished student and its calibration, from one look at the test split.

        The calibration is fitted to the validation split; both are None for a shape without meaning.
        """
        if not self._prepared.shows_accuracy:
            return None, None
        data = self._prepared.data
        validation, test = (predict_logits(model, ids, texts.pad_id) for ids in (texts.validation_ids, texts.test_ids))
        calibration = fit_calibration(data.train, (validation.numpy(), data.validation), (test.numpy(), data.test))
        return scores(test, data.test.labels), calibration

    def latencies(self, small: BertForSequenceClassification, budget_s: float = 1.0) -> tuple[Latency, Latency]:
        """Time dense base and student in turns, in the run's precision."""
        rivals = [self._dense_timed, self._timed(small)]
        dense, student = measure_latency(rivals, self._prepared.max_length, budget_s=budget_s)
        return dense, student

    def _scores(
        self, model: BertForSequenceClassification, ids: list[list[int]], pad_id: int, split: Split
    ) -> tuple[float, float] | None:
        if not self._prepared.shows_accuracy:
            return None
        return scores(predict_logits(model, ids, pad_id), split.labels)

    def _timed(self, model: BertForSequenceClassification) -> BertForSequenceClassification:
        """Return the model in the run's precision: a copy, unless that is fp32."""
        return model if self._precision == "fp32" else copy.deepcopy(model).to(DTYPES[self._precision])
