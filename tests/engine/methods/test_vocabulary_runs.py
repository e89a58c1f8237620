"""Whole runs with fewer tokens: what they tell and save, and that base and student each read texts in their own tokens."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.config import METHODS, Method, RunConfig
from engine.errors import DataError
from engine.evaluation import predict_logits
from engine.events import RunStopped, VocabularyTrimmed
from engine.inference import load_classifier
from engine.loop.preparation import Prepared, prepare
from engine.loop.student import Student
from engine.model import load_folder
from engine.shapes import Shape
from engine.texts.tokenization import encode
from tests.engine.tiny_bert import wordpiece
from tests.engine.tiny_runs import WORDS, result_of, run, tiny_base, tiny_config, write_texts

pytestmark = pytest.mark.usefixtures("fresh_accelerate")

MARATHI = [word for some in WORDS.values() for word in some]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("data") / "texts.csv")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of other languages too, whose padding token stands behind all that Marathi uses."""
    folder = tmp_path_factory.mktemp("base")
    letters = sorted(set("".join(MARATHI)) | set("0123456789"))
    foreign = [f"foreign{number}" for number in range(300)]
    tokenizer = wordpiece([*letters, *(f"##{letter}" for letter in letters), *foreign, *MARATHI])
    model = tiny_base(tokenizer, spare_rows=5)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def config(dataset: Path, base: Path, *, pruning: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    pruning = {"vocabulary": "training", "width_multiple": 1, **(pruning or {})}
    return tiny_config(dataset, base, pruning=pruning, **changes)


def prepared_for(settings: RunConfig, home: Path) -> Prepared:
    found = [item for item in prepare(settings, torch.device("cpu"), home / "run", home) if isinstance(item, Prepared)]
    return found[0]


@pytest.mark.parametrize("method", METHODS)
def test_it_goes_with_every_method_and_with_a_teacher(
    dataset: Path, base: Path, tmp_path: Path, method: Method
) -> None:
    pruning = {"method": method, "final_density": 0.5}
    events = run(config(dataset, base, pruning=pruning, distillation={"enabled": True}), tmp_path)
    result = result_of(events)
    report = next(event.report for event in events if isinstance(event, VocabularyTrimmed))
    assert result.vocabulary == report
    rows = load_folder(base).model.config.vocab_size
    assert result.dense.parameters == Shape(2, 32, 2, 64, rows, 3, positions=32).parameters, "the base keeps all tokens"
    assert report.parameters_saved == (rows - report.tokens_after) * 32
    assert result.dense.parameters - result.student.parameters >= report.parameters_saved
    assert result.distilled


def test_the_event_comes_before_the_first_step_and_tells_what_it_does(
    dataset: Path, base: Path, tmp_path: Path
) -> None:
    events = run(config(dataset, base, pruning={"drop_layers": 1}), tmp_path)
    kinds = [event.kind for event in events]
    assert kinds.index("baseline_measured") < kinds.index("vocabulary_trimmed") < kinds.index("compacted")
    assert kinds.index("compacted") < kinds.index("step_logged")
    report = next(event.report for event in events if isinstance(event, VocabularyTrimmed))
    assert report.rows_before == report.tokens_before + 5
    assert report.tokens_before - report.tokens_after == 302, "foreign words, the first and the last"
    assert report.bytes_saved == 4 * report.parameters_saved == 4 * 307 * 32
    assert (report.unknown_before, report.unknown_after, report.texts_changed) == (0.0, 0.0, 0.0)
    assert report.label_agreement == 1.0


def test_the_report_counts_what_changes_on_validation_texts(dataset: Path, base: Path, tmp_path: Path) -> None:
    settings = config(dataset, base)
    prepared = prepared_for(settings, tmp_path)
    texts = prepared.data.validation.texts
    foreign = [f"foreign{number} foreign{number + 20}" for number in range(9)] + ["विजय foreign9"]
    validation = prepared.data.validation._replace(texts=[*foreign, *texts[10:]])
    prepared.data = dataclasses.replace(prepared.data, validation=validation)
    prepared.validation_ids = encode(prepared.tokenizer, prepared.data.validation.texts, 16)
    with torch.no_grad():  # so that no label is every text's
        average = predict_logits(prepared.dense, prepared.validation_ids, prepared.pad_id).mean(dim=0)
        prepared.dense.classifier.bias -= average
    student = Student(prepared, settings.pruning, 12)
    assert "foreign7" not in student.tokenizer.get_vocab(), "validation texts have no say"
    event = next(iter(student.at_start()))
    assert isinstance(event, VocabularyTrimmed)
    report = event.report
    tokens = sum(len(ids) - 2 for ids in prepared.validation_ids)
    assert report.unknown_before == 0.0
    assert report.unknown_after == pytest.approx(19 / tokens)
    assert report.texts_changed == pytest.approx(10 / len(texts))
    before = predict_logits(prepared.dense, prepared.validation_ids, prepared.pad_id).argmax(dim=-1)
    after = predict_logits(student.model, student.validation_ids, student.pad_id).argmax(dim=-1)
    assert 0 < (before != after).sum() < 10, "or the next line would show little"
    assert report.label_agreement == pytest.approx(float((before == after).float().mean()))


def test_an_untrained_head_has_no_agreement(dataset: Path, tmp_path: Path) -> None:
    settings = RunConfig.parse(
        {
            "data": {"source": str(dataset), "max_length": 16},
            "model": {"base": "compact"},
            "pruning": {"vocabulary": "training"},
        }
    )
    prepared = prepared_for(settings, tmp_path)
    event = next(iter(Student(prepared, settings.pruning, 12).at_start()))
    assert isinstance(event, VocabularyTrimmed)
    assert event.report.label_agreement is None


def test_without_it_all_tokens_stay(dataset: Path, base: Path, tmp_path: Path) -> None:
    events = run(config(dataset, base, pruning={"vocabulary": "full"}), tmp_path)
    assert not any(isinstance(event, VocabularyTrimmed) for event in events)
    result = result_of(events)
    assert result.vocabulary is None
    assert result.student.parameters == result.dense.parameters


def test_the_student_is_measured_on_its_own_ids_and_the_base_on_its_own(
    dataset: Path, base: Path, tmp_path: Path
) -> None:
    settings = config(dataset, base, training={"max_steps": 60}, pruning={"final_density": 0.5})
    result = result_of(run(settings, tmp_path))
    test = prepared_for(settings, tmp_path).data
    for source, measured in ((str(base), result.dense), ("run-1", result.student)):
        answers = load_classifier(source, tmp_path).classify(test.test.texts)
        right = [answer.label == test.labels[label] for answer, label in zip(answers, test.test.labels, strict=True)]
        assert measured.test_accuracy == pytest.approx(sum(right) / len(right))
    assert result.student.test_accuracy is not None
    assert result.student.test_accuracy > 0.9, "three topics with words of their own are easy"


def test_the_saved_model_is_stock(dataset: Path, base: Path, tmp_path: Path) -> None:
    settings = config(dataset, base, pruning={"final_density": 0.5})
    result = result_of(run(settings, tmp_path))
    program = (
        "import json, sys, torch\n"
        "from transformers import AutoModelForSequenceClassification, AutoModel, AutoTokenizer\n"
        "folder, text = sys.argv[1:]\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)\n"
        "assert not info['missing_keys'] and not info['unexpected_keys'] and not info['mismatched_keys'], info\n"
        "rows = AutoModel.from_pretrained(folder).get_input_embeddings().weight.shape[0]\n"
        "inputs = tokenizer(text, return_tensors='pt')\n"
        "logits = model.eval()(**inputs).logits[0]\n"
        "print(json.dumps([rows, len(tokenizer), model.config.vocab_size, model.config.pad_token_id,\n"
        "    tokenizer.pad_token_id, tokenizer.convert_ids_to_tokens(inputs['input_ids'][0]), logits.tolist()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, result.model_path, "सामना विजय 1"],
        env={"PATH": "", "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    rows, tokens, size, padding, pad, pieces, logits = json.loads(done.stdout)
    assert result.vocabulary is not None
    assert rows == tokens == size == result.vocabulary.tokens_after
    assert padding == pad == tokens - 1
    assert pieces == ["[CLS]", "सामना", "विजय", "1", "[SEP]"]
    answer = load_classifier("run-1", tmp_path).classify(["सामना विजय 1"])[0]
    expected = torch.tensor(list(answer.probabilities.values()))
    assert result.calibration is not None
    assert torch.allclose((torch.tensor(logits) / result.calibration.temperature).softmax(dim=-1), expected, atol=1e-5)


@pytest.mark.parametrize("stop_at", [5, 10])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(
    dataset: Path, base: Path, tmp_path: Path, stop_at: int
) -> None:
    settings = config(dataset, base, pruning={"final_density": 0.5}, distillation={"enabled": True})
    whole = result_of(run(settings, tmp_path / "whole"))
    asked = iter(range(1000))
    events = run(settings, tmp_path / "parts", should_stop=lambda: next(asked) >= stop_at)
    assert isinstance(events[-1], RunStopped)
    events = run(settings, tmp_path / "parts", resume=True)
    assert not any(isinstance(event, VocabularyTrimmed) for event in events), "it was said before"
    parts = result_of(events)
    assert parts.vocabulary == whole.vocabulary is not None
    one, other = (load_folder(Path(result.model_path)) for result in (whole, parts))
    assert one.tokenizer.get_vocab() == other.tokenizer.get_vocab()
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


def test_the_teacher_reads_texts_in_its_own_tokens(dataset: Path, base: Path, tmp_path: Path) -> None:
    settings = config(dataset, base, distillation={"enabled": True})
    asked = iter(range(100))
    run(settings, tmp_path, should_stop=lambda: next(asked) >= 1)
    file = tmp_path / "runs" / "run-1" / "teacher.safetensors"
    logits = load_file(file)["logits"]
    prepared = prepared_for(settings, tmp_path / "other")
    expected = predict_logits(load_folder(base).model, prepared.train_ids, prepared.pad_id)
    read = logits.any(dim=1)
    assert read.any()
    assert torch.allclose(logits[read], expected[read], atol=1e-4)


def test_other_tokens_behind_what_the_model_reads_are_not_resumed_with(base: Path, tmp_path: Path) -> None:
    """The ids of what is read are the same, and the vocabulary is not."""
    file = tmp_path / "texts.csv"
    tail = " ".join(["विजय"] * 20)

    def write(end: str) -> None:
        rows = [
            f"{first} {second} {tail} {end},{label}"
            for label, some in WORDS.items()
            for first in some
            for second in some
        ]
        file.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")

    write("foreign1")
    settings = config(file, base)
    asked = iter(range(1000))
    run(settings, tmp_path, should_stop=lambda: next(asked) >= 3)
    write("foreign2")
    with pytest.raises(DataError, match="has changed since step"):
        run(settings, tmp_path, resume=True)


def test_the_compact_base_has_little_to_trim(dataset: Path, tmp_path: Path) -> None:
    settings = config(dataset, Path("compact"), training={"max_steps": 2})
    result = result_of(run(settings, tmp_path))
    assert result.vocabulary is not None
    assert result.vocabulary.tokens_after <= result.vocabulary.tokens_before < 400
    assert result.vocabulary.unknown_after == result.vocabulary.unknown_before == 0.0


def test_the_starter_keeps_its_answers(tmp_path: Path) -> None:
    """A real model: on validation texts it answers nearly always the same before any training."""
    settings = RunConfig.parse({"pruning": {"vocabulary": "training", "drop_layers": 0}})
    prepared = prepared_for(settings, tmp_path)
    event = next(iter(Student(prepared, settings.pruning, 10).at_start()))
    assert isinstance(event, VocabularyTrimmed)
    assert event.report.label_agreement is not None
    assert event.report.label_agreement > 0.97
