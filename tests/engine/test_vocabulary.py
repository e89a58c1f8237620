"""Fewer tokens, and still the same pieces: the smaller tokenizer, the smaller embedding and whole runs with both."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from engine.checkpoints import digest_text
from engine.config import METHODS, Method, RunConfig
from engine.distillation import load_teacher
from engine.errors import ConfigError, DataError
from engine.evaluation import collate, predict_logits
from engine.events import Event, RunFinished, RunResult, RunStopped, VocabularyTrimmed
from engine.inference import load_classifier
from engine.model import load_folder, random_model
from engine.preparation import Prepared, prepare
from engine.shapes import Shape
from engine.student import Student
from engine.tokenization import encode
from engine.training import train
from engine.vocabulary import trim_embedding, trim_vocabulary

SPECIAL = ("[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]")
LETTERS = "aक्"


def wordpiece(pieces: Sequence[str], **options: Any) -> BertTokenizer:
    """A tokenizer whose padding stands last and whose special tokens stand between others."""
    tokens = ["[UNK]", "first", "[CLS]", "[SEP]", "[MASK]", *pieces, "last", "[PAD]"]
    options = {"do_lower_case": False, "strip_accents": False, **options}
    return BertTokenizer(vocab={token: number for number, token in enumerate(dict.fromkeys(tokens))}, **options)


def pieces_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    return list(tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]))


# --- which tokens stay -------------------------------------------------------------------------------------------------------

words = st.text(alphabet=LETTERS, min_size=1, max_size=3)
any_piece = st.builds(lambda inside, word: ("##" if inside else "") + word, st.booleans(), words)
any_texts = st.lists(st.text(alphabet=LETTERS + " d", max_size=20), max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.lists(any_piece, unique=True, max_size=40), any_texts)
def test_training_texts_are_split_into_the_same_pieces(pieces: list[str], texts: list[str]) -> None:
    tokenizer = wordpiece(pieces)
    smaller = trim_vocabulary(tokenizer, texts)
    for text in texts:
        assert pieces_of(smaller.tokenizer, text) == pieces_of(tokenizer, text)
    ids = encode(tokenizer, texts, 64)
    assert smaller.from_base(ids) == encode(smaller.tokenizer, texts, 64)
    assert smaller.to_base(smaller.from_base(ids)) == ids


@settings(max_examples=60, deadline=None)
@given(st.lists(any_piece, unique=True, max_size=40), any_texts)
def test_what_stays_is_used_or_a_single_character_or_special(pieces: list[str], texts: list[str]) -> None:
    tokenizer = wordpiece(pieces)
    left = trim_vocabulary(tokenizer, texts).tokenizer.get_vocab()
    used = {piece for text in texts for piece in pieces_of(tokenizer, text)}
    single = {piece for piece in pieces if len(piece.removeprefix("##")) == 1}
    assert left.keys() >= used | single | set(SPECIAL)
    known = all("[UNK]" not in pieces_of(tokenizer, text) for text in texts)
    assert left.keys() == used | single | set(SPECIAL) or not known


def test_an_unknown_word_stays_unknown() -> None:
    tokenizer = wordpiece(["a", "ab", "##bx", "cd"])
    assert pieces_of(tokenizer, "abx") == ["[CLS]", "[UNK]", "[SEP]"], "after ab there is no ##x"
    smaller = trim_vocabulary(tokenizer, ["abx", "a ##bx abx"])
    assert pieces_of(smaller.tokenizer, "abx") == ["[CLS]", "[UNK]", "[SEP]"], "without ab it would be a, ##bx"
    assert "ab" in smaller.tokenizer.get_vocab()
    assert "cd" not in smaller.tokenizer.get_vocab()
    inside = wordpiece(["a", "##b", "##bc", "##cx"])
    smaller = trim_vocabulary(inside, ["abcx", "acx"])
    assert pieces_of(smaller.tokenizer, "abcx acx") == ["[CLS]", "[UNK]", "a", "##cx", "[SEP]"], "not a, ##b, ##cx"


def test_a_word_too_long_to_be_looked_up_keeps_nothing() -> None:
    tokenizer = wordpiece(["aa", "##aa", "a"])
    assert set(trim_vocabulary(tokenizer, ["a" * 101]).tokenizer.get_vocab()) == {*SPECIAL, "a"}
    assert "aa" in trim_vocabulary(tokenizer, ["a" * 100]).tokenizer.get_vocab()


def test_the_order_of_tokens_is_kept_without_gaps() -> None:
    tokenizer = wordpiece(["zz", "b", "##b", "yy", "a", "ab", "##ab"])
    smaller = trim_vocabulary(tokenizer, ["ab zz"])
    left = sorted(smaller.tokenizer.get_vocab(), key=smaller.tokenizer.get_vocab().__getitem__)
    assert left == ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "zz", "b", "##b", "a", "ab", "[PAD]"]
    assert smaller.kept == tuple(tokenizer.convert_tokens_to_ids(left))
    assert smaller.tokenizer.pad_token_id == 9
    assert tokenizer.pad_token_id == 13, "the base's tokenizer stays as it is"


def test_tokens_are_looked_for_in_the_whole_text() -> None:
    tokenizer = wordpiece(["ab", "ba"])
    encode(tokenizer, ["ab"], 4)  # leaves its truncation set
    assert "ba" in trim_vocabulary(tokenizer, ["ab " * 40 + "ba"]).tokenizer.get_vocab()


# --- kinds of tokenizers -----------------------------------------------------------------------------------------------------

PIECES = ("ab", "##b", "É", "é", "e", "##é", "##e", "i", "पाणी", "पाण", "##ी", "पाणि", "junk", "##unk")
TEXTS = ("ab É é e पाणी", "AB पाणी", "ab <x> foo", "[MASK] ab")


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("strip", [False, True, None])
def test_lower_casing_and_accents_are_treated_as_before(tmp_path: Path, lower: bool, strip: bool | None) -> None:
    tokenizer = wordpiece(PIECES, do_lower_case=lower, strip_accents=strip, model_max_length=17)
    smaller = trim_vocabulary(tokenizer, TEXTS).tokenizer
    smaller.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert pieces_of(smaller, text) == pieces_of(again, text) == pieces_of(tokenizer, text)
    assert again.get_vocab() == smaller.get_vocab()
    assert again.model_max_length == smaller.model_max_length == 17
    assert "É" in smaller.get_vocab(), "single characters stay even where lower-casing hides them"


def test_a_folder_with_nothing_but_a_word_list(tmp_path: Path) -> None:
    tokens = ["[PAD]", "junk", *SPECIAL[:4], *PIECES[:6], "पाणी"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    smaller = trim_vocabulary(tokenizer, ["ab पाणी", "É"])
    assert pieces_of(smaller.tokenizer, "ab पाणी É") == ["[CLS]", "ab", "पाणी", "É", "[SEP]"]
    assert "junk" not in smaller.tokenizer.get_vocab()
    assert smaller.tokenizer("ab")["input_ids"] == [2, 5, 3], "[CLS] and [SEP] have moved up by one"


def test_added_tokens_stay_and_move_along(tmp_path: Path) -> None:
    tokenizer = wordpiece(PIECES)
    tokenizer.add_tokens(["foo"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<x>"]})
    smaller = trim_vocabulary(tokenizer, TEXTS).tokenizer
    smaller.save_pretrained(tmp_path)
    for some in (smaller, AutoTokenizer.from_pretrained(tmp_path)):
        assert some.convert_tokens_to_ids(["foo", "<x>"]) == [len(some) - 2, len(some) - 1]
        assert pieces_of(some, "ab foo<x>") == ["[CLS]", "ab", "foo", "<x>", "[SEP]"]
        assert "<x>" in some.all_special_tokens


def test_a_folder_that_transformers_4_saved(tmp_path: Path) -> None:
    """As models on the hub are: special tokens by their ids in tokenizer_config.json, and files beside it that repeat them."""
    tokens = ["[PAD]", "junk", *SPECIAL[:4], *PIECES[:6], "पाणी"]
    saved = BertTokenizer(vocab={token: number for number, token in enumerate(tokens)}, do_lower_case=False)
    saved.add_special_tokens({"additional_special_tokens": ["<x>"]})
    saved.save_pretrained(tmp_path)
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    special = {"[PAD]": 0, "[UNK]": 2, "[CLS]": 3, "[SEP]": 4, "[MASK]": 5, "<x>": len(tokens)}
    named = {f"{token.strip('[]').lower()}_token": token for token in special if token != "<x>"}
    settings = {
        "added_tokens_decoder": {str(number): {"content": token, **flags} for token, number in special.items()},
        "additional_special_tokens": ["<x>"],
        "do_lower_case": False,
        "strip_accents": False,
        "tokenizer_class": "BertTokenizer",
        **named,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(named), encoding="utf-8")
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    smaller = trim_vocabulary(AutoTokenizer.from_pretrained(tmp_path), ["ab पाणी"]).tokenizer
    smaller.save_pretrained(tmp_path / "smaller")
    again = AutoTokenizer.from_pretrained(tmp_path / "smaller")
    for some in (smaller, again):
        assert some("ab <x> पाणी")["input_ids"] == [2, 5, len(some) - 1, len(some) - 2, 3]
        assert some.get_vocab() == smaller.get_vocab()
        assert (some.pad_token_id, some.unk_token_id, some.mask_token_id) == (0, 1, 4)


@pytest.mark.parametrize("around", ["TemplateProcessing", "BertProcessing", "Sequence"])
def test_special_tokens_are_put_around_under_their_new_ids(tmp_path: Path, around: str) -> None:
    """A tokenizer whose class does not know how BERT marks a text, and reads it from the file."""
    wordpiece(PIECES).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    around_texts = ("[CLS]", "[SEP]", "[MASK]")
    description["added_tokens"] = [one for one in description["added_tokens"] if one["content"] not in around_texts]
    if around != "TemplateProcessing":
        bert = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
        description["post_processor"] = (
            bert if around == "BertProcessing" else {"type": "Sequence", "processors": [bert]}
        )
    description["padding"] = {
        "strategy": {"Fixed": 12},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 20,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    path.write_text(json.dumps(description), encoding="utf-8")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path), unk_token="[UNK]", pad_token="[PAD]")
    smaller = trim_vocabulary(tokenizer, ["ab"]).tokenizer
    assert smaller("ab")["input_ids"] == smaller.convert_tokens_to_ids(["[CLS]", "ab", "[SEP]"]) == [1, 3, 2]
    assert smaller(["ab"], padding="max_length", max_length=4)["input_ids"] == [[1, 3, 2, len(smaller) - 1]]


def test_a_tokenizer_that_is_no_wordpiece_is_refused() -> None:
    backend = Tokenizer(models.BPE({"[UNK]": 0, "a": 1, "b": 2, "ab": 3}, [("a", "b")], unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    with pytest.raises(ConfigError, match=r"kind BPE.*Set it to full") as caught:
        trim_vocabulary(tokenizer, ["ab"])
    assert list(caught.value.fields) == ["pruning.vocabulary"]


# --- the embedding -----------------------------------------------------------------------------------------------------------


def test_the_smaller_model_answers_as_the_base() -> None:
    tokenizer = wordpiece(PIECES)
    model = random_model(Shape(2, 32, 2, 64, len(tokenizer) + 7, 3, positions=16), ("x", "y", "z"), seed=0)
    model.config.pad_token_id = model.bert.embeddings.word_embeddings.padding_idx = tokenizer.pad_token_id
    model.config.cls_token_id, model.config.eos_token_id = tokenizer.cls_token_id, 1
    smaller = trim_vocabulary(tokenizer, ["ab पाणी", "É"])
    ids = encode(tokenizer, ["ab पाणी", "É", "[MASK] i"], 16)
    before = predict_logits(model, ids, tokenizer.pad_token_id)
    others = {name: value.clone() for name, value in model.named_parameters() if "word_embeddings" not in name}
    trim_embedding(model, smaller.kept)
    after = predict_logits(model, smaller.from_base(ids), smaller.tokenizer.pad_token_id)
    assert torch.equal(after, before)
    table = model.bert.embeddings.word_embeddings
    assert table.weight.shape == (len(smaller.kept), 32)
    assert table.num_embeddings == model.config.vocab_size == len(smaller.tokenizer)
    assert model.config.pad_token_id == table.padding_idx == smaller.tokenizer.pad_token_id
    assert model.config.cls_token_id == smaller.tokenizer.cls_token_id == 1
    assert model.config.eos_token_id is None, "the word it meant is gone"
    for name, value in model.named_parameters():
        assert name not in others or torch.equal(value, others[name])


def test_padding_learns_nothing_and_the_rest_does() -> None:
    tokenizer = wordpiece(PIECES)
    model = random_model(Shape(1, 32, 2, 64, len(tokenizer), 2, positions=16), ("x", "y"), seed=0)
    model.config.pad_token_id = model.bert.embeddings.word_embeddings.padding_idx = tokenizer.pad_token_id
    smaller = trim_vocabulary(tokenizer, ["ab पाणी"])
    trim_embedding(model, smaller.kept)
    inputs = collate(encode(smaller.tokenizer, ["ab पाणी", "ab"], 16), smaller.tokenizer.pad_token_id)
    model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    gradient = model.bert.embeddings.word_embeddings.weight.grad
    assert gradient is not None
    moved = {int(row) for row in gradient.abs().sum(dim=1).nonzero()}
    assert moved == set(inputs["input_ids"].unique().tolist()) - {smaller.tokenizer.pad_token_id}


# --- whole runs --------------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures("fresh_accelerate")

WORDS = {
    "खेळ": ["क्रिकेट", "सामना", "खेळाडू", "धावा", "विजय"],
    "आरोग्य": ["डॉक्टर", "औषध", "आजार", "रुग्ण", "उपचार"],
    "प्रवास": ["किल्ला", "समुद्र", "पर्यटन", "रेल्वे", "डोंगर"],
}
MARATHI = [word for some in WORDS.values() for word in some]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "texts.csv"
    rows = ["text,label"]
    for label, some in WORDS.items():
        rows += [f"{first} {second} {number},{label}" for first in some for second in some for number in range(2)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of other languages too, whose padding token stands behind all that Marathi uses."""
    folder = tmp_path_factory.mktemp("base")
    letters = sorted(set("".join(MARATHI)) | set("0123456789"))
    foreign = [f"foreign{number}" for number in range(300)]
    tokenizer = wordpiece([*letters, *(f"##{letter}" for letter in letters), *foreign, *MARATHI])
    model = random_model(Shape(2, 32, 2, 64, len(tokenizer) + 5, 3, positions=32), sorted(WORDS), seed=0)
    model.config.pad_token_id = tokenizer.pad_token_id
    with torch.no_grad():  # so narrow a model learns nothing within seconds from BERT's small initial weights
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def config(dataset: Path, base: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "data": {"source": str(dataset), "max_length": 16},
        "model": {"base": str(base)},
        "pruning": {"vocabulary": "training", "width_multiple": 1},
        "training": {
            "max_steps": 12,
            "batch_size": 16,
            "learning_rate": 1e-2,
            "evaluations": 2,
            "precision": "fp32",
            "device": "cpu",
        },
    }
    for part, fields in changes.items():
        values[part] = {**values.get(part, {}), **fields}
    return RunConfig.parse(values)


def run(settings: RunConfig, home: Path, **options: Any) -> list[Event]:
    return list(train(settings, run_id="run-1", home=home, **options))


def result_of(events: list[Event]) -> RunResult:
    assert isinstance(events[-1], RunFinished)
    return events[-1].result


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
    run(settings, tmp_path, should_stop=lambda: True)
    file = tmp_path / "runs" / "run-1" / "teacher.safetensors"
    state = next((tmp_path / "runs" / "run-1" / "resume").glob("step-*/manifest.json"))
    material = json.dumps(json.loads(state.read_text(encoding="utf-8"))["facts"]["material"])
    logits = load_teacher(file, digest_text(material))
    assert logits is not None
    prepared = prepared_for(settings, tmp_path / "other")
    expected = predict_logits(load_folder(base).model, prepared.train_ids, prepared.pad_id)
    assert torch.allclose(logits.float(), expected, atol=1e-4)


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
