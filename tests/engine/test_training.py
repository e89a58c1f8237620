"""Whole runs on a tiny model: what they yield, what they leave, how they stop, resume and fail."""

import json
import shutil
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import CheckpointError, ConfigError, DataError, Diverged, OutOfMemory
from engine.events import (
    BaselineMeasured,
    CheckpointSaved,
    Compacted,
    EmissionsSampled,
    Evaluated,
    Event,
    ModelLoaded,
    Notice,
    RunFinished,
    RunStarted,
    RunStopped,
    StepLogged,
    SvmMeasured,
    TeacherReady,
)
from engine.inference import load_classifier
from engine.loop import steps as loop
from engine.loop.optimization import default_learning_rate
from engine.loop.steps import Loop
from engine.model import load_folder
from engine.shapes import Shape
from engine.training import train
from tests.engine.tiny_runs import WORDS, result_of, run, tiny_config, write_base, write_texts

T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("fresh_accelerate")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("data") / "texts.csv")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def of(events: list[Event], kind: type[T]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def weights(home: Path) -> dict[str, torch.Tensor]:
    return load_file(home / "runs" / "run-1" / "model" / "model.safetensors")


def test_a_run_tells_its_whole_story_in_order(dataset: Path, base: Path, tmp_path: Path) -> None:
    settings = tiny_config(dataset, base, pruning={"final_density": 0.5}, distillation={"enabled": True})
    events = run(settings, tmp_path)
    kinds = [type(event) for event in events]
    order = [RunStarted, ModelLoaded, BaselineMeasured, StepLogged, TeacherReady, Evaluated, SvmMeasured, Compacted]
    places = [kinds.index(kind) for kind in [*order, RunFinished]]
    assert places == sorted(places)
    steps = of(events, StepLogged)
    assert [step.step for step in of(events, Evaluated)] == [4, 8, 12]
    assert steps[-1].step == 12
    assert steps[0].density == 1.0
    assert steps[-1].density == 0.5
    assert steps[-1].distillation_loss is not None
    assert len(of(events, EmissionsSampled)) >= 1


def test_who_keeps_the_events_is_asked_before_each_state_is_saved(dataset: Path, base: Path, tmp_path: Path) -> None:
    found: list[list[str]] = []

    def before_saving() -> None:
        found.append([path.name for path in (tmp_path / "runs" / "run-1" / "resume").glob("step-*")])

    events = run(tiny_config(dataset, base, training={"checkpoint_every_s": 0}), tmp_path, before_saving=before_saving)
    saved = [f"step-{event.step:08d}" for event in of(events, CheckpointSaved)]
    assert len(saved) >= 3
    assert found == [[], *([name] for name in saved[:-1])]


def test_the_result_is_measured_and_consistent(dataset: Path, base: Path, tmp_path: Path) -> None:
    result = result_of(run(tiny_config(dataset, base, pruning={"final_density": 0.25}), tmp_path))
    dense = Shape(2, 32, 2, 64, load_folder(base).model.config.vocab_size, 3, positions=32)
    assert result.dense.parameters == dense.parameters
    assert result.student.parameters == dense.pruned(0.25).parameters
    assert result.speedup_ceiling == pytest.approx(dense.speedup_ceiling(dense.pruned(0.25), 16))
    assert result.speedup == pytest.approx(result.dense.latency_ms.p50 / result.student.latency_ms.p50)
    parts = [*result.energy_training_kwh.model_dump().values(), *result.energy_evaluation_kwh.model_dump().values()]
    assert result.energy_kwh == pytest.approx(sum(parts))
    assert result.emissions_kg == pytest.approx(result.energy_kwh * result.grid_g_per_kwh / 1000)
    assert result.data.sizes == {"train": 120, "validation": 15, "test": 15}
    assert json.loads(result.model_dump_json())["state"] == "done"
    assert result.svm is not None
    assert result.svm.test_accuracy > 0.9, "three topics with words of their own are easy"
    assert 0 <= result.svm.energy_kwh < result.energy_kwh, "what takes milliseconds may be too little to meter"
    assert result.svm.energy_basis == "estimated"


def test_the_saved_model_has_the_accuracy_that_the_result_claims(dataset: Path, base: Path, tmp_path: Path) -> None:
    result = result_of(run(tiny_config(dataset, base, training={"max_steps": 40}), tmp_path))
    assert result.student.test_accuracy is not None
    assert result.student.test_accuracy > 0.9, "three topics with words of their own are easy"
    assert result.dense.test_accuracy is not None
    assert result.dense.test_accuracy < result.student.test_accuracy
    answers = load_classifier(result.model_path, tmp_path).classify(["क्रिकेट सामना", "डॉक्टर औषध", "किल्ला समुद्र"])
    assert [answer.label for answer in answers] == ["खेळ", "आरोग्य", "प्रवास"]


def test_a_finished_run_leaves_a_model_and_nothing_to_resume(dataset: Path, base: Path, tmp_path: Path) -> None:
    run(tiny_config(dataset, base, training={"checkpoint_every_s": 0}), tmp_path)
    assert sorted(path.name for path in (tmp_path / "runs" / "run-1").iterdir()) == ["model"]


def test_stopped_and_resumed_equals_not_stopped(
    dataset: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "ASKED_TOGETHER", 2)  # so that the teacher has not read all at the first stop
    settings = tiny_config(dataset, base, pruning={"final_density": 0.5}, distillation={"enabled": True})
    whole = result_of(run(settings, tmp_path / "whole"))
    measured = []
    for stop_before in (3, 7):
        asked = iter(range(100))
        first = run(settings, tmp_path / "parts", should_stop=lambda asked=asked, at=stop_before: next(asked) >= at,
                    resume=True)  # fmt: skip
        assert isinstance(first[-1], RunStopped)
        measured += [event.report for event in of(first, SvmMeasured)]
    (tmp_path / "parts" / "runs" / "run-1" / "teacher.safetensors").unlink()  # what is lost is asked again
    second = run(settings, tmp_path / "parts", resume=True)
    started = of(second, RunStarted)[0]
    assert started.resumed_at_step == 10
    assert not of(second, BaselineMeasured), "the baseline belongs to the run, not to its parts"
    assert not of(second, SvmMeasured)
    parts = result_of(second)
    assert parts.student.accuracy == whole.student.accuracy
    assert parts.student.test_macro_f1 == whole.student.test_macro_f1
    assert [parts.svm] == measured, "measured once, and kept over both stops"
    there, here = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert there.keys() == here.keys()
    for name, value in there.items():
        torch.testing.assert_close(here[name], value, atol=1e-7, rtol=0)


def test_a_changed_dataset_or_base_is_not_mixed_with_what_was_learned(
    dataset: Path, base: Path, tmp_path: Path
) -> None:
    dataset = Path(shutil.copy(dataset, tmp_path / "mine.csv"))
    base = Path(shutil.copytree(base, tmp_path / "base"))
    settings = tiny_config(dataset, base, distillation={"enabled": True})
    asked = iter(range(100))
    run(settings, tmp_path, should_stop=lambda: next(asked) >= 3)
    before = dataset.read_text(encoding="utf-8")
    dataset.write_text(before.replace("1,", "1 1,"), encoding="utf-8")  # as many texts, and others
    with pytest.raises(DataError, match=f"{dataset.name} has changed since step 3"):
        run(settings, tmp_path, resume=True)
    dataset.write_text(before, encoding="utf-8")
    trained = load_file(base / "model.safetensors")
    save_file({name: value + 0.01 for name, value in trained.items()}, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="base has changed since step 3"):
        run(settings, tmp_path, resume=True)
    save_file(trained, base / "model.safetensors", {"format": "pt"})
    assert of(run(settings, tmp_path, resume=True), RunStarted)[0].resumed_at_step == 3


def test_energy_and_time_add_up_over_the_parts(dataset: Path, base: Path, tmp_path: Path) -> None:
    settings = tiny_config(dataset, base)
    asked = iter(range(100))
    first = run(settings, tmp_path, should_stop=lambda: next(asked) >= 6)
    spent = [event.energy_kwh for event in of(first, EmissionsSampled)]
    second = run(settings, tmp_path, resume=True)
    later = [event.energy_kwh for event in of(second, EmissionsSampled)]
    assert later == pytest.approx(sorted(later), rel=1e-12), "sums of floats may differ in their last digit"
    assert later[0] >= max(spent, default=0.0)
    assert result_of(second).duration_s > of(first, StepLogged)[-1].elapsed_s


def test_a_torn_state_is_refused_with_a_reason_and_the_run_starts_over(
    dataset: Path, base: Path, tmp_path: Path
) -> None:
    settings = tiny_config(dataset, base)
    asked = iter(range(100))
    run(settings, tmp_path, should_stop=lambda: next(asked) >= 6)
    state = next((tmp_path / "runs" / "run-1" / "resume").glob("step-*/state.pt"))
    state.write_bytes(state.read_bytes()[:-100])
    events = run(settings, tmp_path, resume=True)
    assert any("torn" in notice.message for notice in of(events, Notice))
    assert of(events, RunStarted)[0].resumed_at_step is None
    assert result_of(events).student.accuracy is not None


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    dataset: Path, base: Path, tmp_path: Path
) -> None:
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tiny_config(dataset, base, training={"seed": seed}), tmp_path / name)
        found.append(weights(tmp_path / name)["classifier.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_compact_learns_its_own_tokenizer_and_is_not_distilled_from(dataset: Path, tmp_path: Path) -> None:
    settings = tiny_config(
        dataset, Path("x"), model={"base": "compact"}, distillation={"enabled": True}, training={"max_steps": 2}
    )
    events = run(settings, tmp_path)
    assert any("Distillation is off" in notice.message for notice in of(events, Notice))
    assert not of(events, TeacherReady)
    result = result_of(events)
    assert result.distilled is False
    assert of(events, ModelLoaded)[0].head == "new"
    assert load_classifier(result.model_path, tmp_path).labels == tuple(sorted(WORDS))


def test_a_finished_run_is_a_base_for_the_next(dataset: Path, base: Path, tmp_path: Path) -> None:
    first = result_of(run(tiny_config(dataset, base, training={"max_steps": 40}), tmp_path))
    settings = tiny_config(
        dataset,
        Path("x"),
        model={"base": "run-1"},
        pruning={"final_density": 0.5},
        distillation={"enabled": True},
    )
    events = list(train(settings, run_id="run-2", home=tmp_path))
    assert of(events, ModelLoaded)[0].head == "by name"
    second = result_of(events)
    assert second.dense.test_accuracy == first.student.test_accuracy
    assert second.distilled


def test_labels_of_another_order_are_matched_by_name(dataset: Path, base: Path, tmp_path: Path) -> None:
    result = result_of(run(tiny_config(dataset, base, training={"max_steps": 40}), tmp_path))
    loaded = load_folder(Path(result.model_path))
    loaded.model.config.id2label = {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    loaded.model.config.label2id = {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    with torch.no_grad():
        order = [2, 0, 1]
        loaded.model.classifier.weight.copy_(loaded.model.classifier.weight[order].clone())
        loaded.model.classifier.bias.copy_(loaded.model.classifier.bias[order].clone())
    loaded.model.save_pretrained(tmp_path / "unnamed")
    loaded.tokenizer.save_pretrained(tmp_path / "unnamed")
    events = list(train(tiny_config(dataset, tmp_path / "unnamed", training={"max_steps": 1, "learning_rate": 1e-9}),
                        run_id="run-2", home=tmp_path))  # fmt: skip
    assert of(events, ModelLoaded)[0].head == "aligned"
    assert any("matched on validation data" in notice.message for notice in of(events, Notice))
    assert result_of(events).dense.test_accuracy == result.student.test_accuracy


def test_foreign_labels_get_a_new_head_and_no_distillation(dataset: Path, base: Path, tmp_path: Path) -> None:
    loaded = load_folder(base)
    loaded.model.config.id2label = {0: "x", 1: "y", 2: "z"}
    loaded.model.config.label2id = {"x": 0, "y": 1, "z": 2}
    loaded.model.save_pretrained(tmp_path / "foreign")
    loaded.tokenizer.save_pretrained(tmp_path / "foreign")
    events = run(
        tiny_config(dataset, tmp_path / "foreign", distillation={"enabled": True}, training={"max_steps": 1}), tmp_path
    )
    assert of(events, ModelLoaded)[0].head == "new"
    assert any("are not the dataset's" in notice.message for notice in of(events, Notice))
    assert not of(events, TeacherReady)


def test_divergence_is_named_and_keeps_the_last_good_state(dataset: Path, base: Path, tmp_path: Path) -> None:
    settings = tiny_config(dataset, base, training={"checkpoint_every_s": 0, "max_steps": 12})
    good = run(settings, tmp_path, should_stop=iter([False] * 6 + [True]).__next__)
    assert isinstance(good[-1], RunStopped)
    broken = Loop._take_step

    def poison(self: Loop, indices: list[int]) -> Any:
        with torch.no_grad():
            self.student.model.classifier.weight.fill_(float("nan"))
        return broken(self, indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_take_step", poison)
        with pytest.raises(Diverged, match=r"learning rate is 0\.01; try 0\.001"):
            run(settings, tmp_path, resume=True)
    assert result_of(run(settings, tmp_path, resume=True)).student.accuracy is not None


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
              torch.OutOfMemoryError("CUDA out of memory")]
)  # fmt: skip
def test_memory_that_runs_out_is_named_with_a_way_out(
    dataset: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(self: Loop, indices: list[int]) -> Any:
        raise error

    monkeypatch.setattr(Loop, "_take_step", fail)
    with pytest.raises(OutOfMemory, match="--batch-size 8"):
        run(tiny_config(dataset, base), tmp_path)


def test_fp16_without_a_gpu_is_refused(dataset: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a GPU"):
        run(tiny_config(dataset, base, training={"precision": "fp16"}), tmp_path)


def test_bf16_trains_on_a_cpu(dataset: Path, base: Path, tmp_path: Path) -> None:
    events = run(tiny_config(dataset, base, training={"precision": "bf16"}, pruning={"final_density": 0.5}), tmp_path)
    assert of(events, RunStarted)[0].precision == "bf16"
    assert of(events, Compacted)[0].max_logit_difference < 1e-4, "the check itself is in fp32"
    assert all(value.dtype == torch.float32 for value in weights(tmp_path).values())


def test_shapes_with_random_weights_never_show_an_accuracy(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Shape(2, 32, 2, 64, 500, 3, positions=32)
    monkeypatch.setattr("engine.model.MURIL", small)
    events = run(tiny_config(dataset, Path("x"), model={"base": "muril-shape"}, training={"max_steps": 3}), tmp_path)
    result = result_of(events)
    for measured in (result.dense, result.student, *(event.measurement for event in of(events, Evaluated))):
        assert measured.accuracy is None
        assert measured.test_accuracy is None
    assert of(events, ModelLoaded)[0].vocabulary == 500
    assert result.svm is None
    assert not of(events, SvmMeasured)


def test_default_learning_rates_follow_width_and_training() -> None:
    assert default_learning_rate(768, trained=True) < default_learning_rate(256, trained=True)
    assert default_learning_rate(256, trained=True) < default_learning_rate(256, trained=False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: fp16 loss scaling has no CPU counterpart")
def test_fp16_scales_the_loss_on_a_gpu(dataset: Path, base: Path, tmp_path: Path) -> None:
    settings = tiny_config(
        dataset, base, training={"precision": "auto", "device": "cuda"}, pruning={"final_density": 0.5}
    )
    events = run(settings, tmp_path)
    assert of(events, RunStarted)[0].precision == "fp16"
    assert of(events, StepLogged)[-1].loss_scale is not None
    assert result_of(events).energy_basis["gpu"] == "measured"
