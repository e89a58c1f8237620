"""From a config to cleaned, split texts; what was dropped on the way is counted."""

import subprocess
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import DataConfig
from engine.data import TextData, batches, load_data, read_texts
from engine.errors import DataError
from engine.texts.cleaning import Part, clean, normalise

REPOSITORY = Path(__file__).resolve().parents[2]
REAL_FILE = REPOSITORY.parent / "shared" / "mahanews" / "SHC_Valid.csv"


def write_csv(path: Path, rows: Sequence[Sequence[str]], header: str = "text,label") -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def numbered(counts: dict[str, int], word: str = "बातमी") -> list[tuple[str, str]]:
    return [(f"{word} {label} {i}", label) for label, count in counts.items() for i in range(count)]


def load(path: Path, home: Path, seed: int = 0, **options: str | None) -> TextData:
    return load_data(DataConfig.model_validate({"source": str(path), **options}), seed, home)


def refusal(path: Path, home: Path, **options: str | None) -> str:
    with pytest.raises(DataError) as caught:
        load(path, home, **options)
    assert caught.value.path is not None
    return str(caught.value)


def every_text(data: TextData) -> list[str]:
    return data.train.texts + data.validation.texts + data.test.texts


def test_the_starter_keeps_its_own_splits(tmp_path: Path) -> None:
    data = load_data(DataConfig(), 0, tmp_path)
    assert data.report.source == "starter"
    assert len(data.labels) == 12
    assert data.labels == tuple(sorted(data.labels))
    assert data.report.sizes == {"train": 10204, "validation": 1282, "test": 1280}
    for split in (data.train, data.validation, data.test):
        assert set(split.labels) == set(range(12))
    assert data == load_data(DataConfig(), 99, tmp_path), "a fixed split knows no seed"
    assert any("'split'" in note for note in data.report.notes)
    assert list(tmp_path.iterdir()) == [], "reading a file leaves nothing behind"


def test_one_file_is_cut_80_10_10_by_label(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", numbered({"x": 100, "y": 50, "rare": 3}))
    data = load(path, tmp_path)
    assert data.labels == ("rare", "x", "y")
    assert [Counter(split.labels) for split in (data.train, data.validation, data.test)] == [
        {0: 1, 1: 80, 2: 40},
        {0: 1, 1: 10, 2: 5},
        {0: 1, 1: 10, 2: 5},
    ]
    assert sorted(every_text(data)) == sorted(text for text, _ in numbered({"x": 100, "y": 50, "rare": 3}))
    for split in (data.train, data.validation, data.test):
        assert all(f" {data.labels[label]} " in text for text, label in zip(split.texts, split.labels, strict=True))
    assert data.report.label_counts == {"rare": 3, "x": 100, "y": 50}
    assert set(data.report.splits) == {"all"}


def test_the_seed_decides_the_cut(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", numbered({"x": 60, "y": 60}))
    assert load(path, tmp_path, seed=1) == load(path, tmp_path, seed=1)
    assert load(path, tmp_path, seed=1).test != load(path, tmp_path, seed=2).test


def test_a_test_file_leaves_90_10_of_the_source(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", numbered({"x": 100, "y": 50}))
    rows = [*numbered({"x": 4, "y": 4}, "नवी"), ("बातमी x 1", "x")]
    test = write_csv(tmp_path / "t.csv", rows, header="Headline,Category")
    data = load(path, tmp_path, test_path=str(test))
    assert data.report.sizes == {"train": 135, "validation": 15, "test": 8}
    assert data.test.texts == [text for text, _ in rows[:-1]]
    assert data.report.splits["test"].leaked == 1
    assert set(data.report.splits) == {"train", "test"}


def test_a_test_file_replaces_the_test_split_of_the_starter(tmp_path: Path) -> None:
    test = write_csv(tmp_path / "t.csv", [("क्रिकेट सामना", "Sports"), ("नवा चित्रपट", "Manoranjan")], header="a,b")
    data = load_data(DataConfig(test_path=str(test), text_column="a", label_column="b"), 0, tmp_path)
    assert data.report.sizes == {"train": 10204, "validation": 1282, "test": 2}
    assert [data.labels[label] for label in data.test.labels] == ["Sports", "Manoranjan"]
    assert any("own test split is not used" in note for note in data.report.notes)


def test_columns_told_for_both_files_must_be_in_both(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", numbered({"x": 9, "y": 9}), header="a,b")
    test = write_csv(tmp_path / "t.csv", numbered({"x": 2, "y": 2}, "नवी"), header="a,c")
    told = refusal(path, tmp_path, test_path=str(test), text_column="a", label_column="b")
    assert "t.csv has no column 'b'" in told


def test_a_split_column_is_obeyed_and_what_lacks_is_cut(tmp_path: Path) -> None:
    rows = [(*row, "Train") for row in numbered({"x": 20, "y": 20})]
    rows += [(*row, "test") for row in numbered({"x": 3, "y": 2}, "नवी")] + [("text", "label", "split")]
    data = load(write_csv(tmp_path / "a.csv", rows, header="text,label,split"), tmp_path)
    assert data.report.sizes == {"train": 36, "validation": 4, "test": 5}
    assert data.report.splits["train"].repeated_headers == 1
    assert any("'split'" in note for note in data.report.notes)
    assert any("10% for validation" in note for note in data.report.notes)


def test_a_split_column_without_train_is_refused(tmp_path: Path) -> None:
    rows = [(*row, "test") for row in numbered({"x": 3, "y": 3})]
    assert "no row into train" in refusal(write_csv(tmp_path / "a.csv", rows, "text,label,split"), tmp_path)


def test_a_test_split_may_not_bring_new_labels(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", numbered({"x": 9, "y": 9}))
    test = write_csv(tmp_path / "t.csv", numbered({"x": 2, "z": 2, "w": 1}, "नवी"))
    told = refusal(path, tmp_path, test_path=str(test))
    assert str(test) in told
    assert "does not know: w (1), z (2). Training knows x, y." in told


def test_one_label_is_not_enough(tmp_path: Path) -> None:
    assert "one label only, 'x'" in refusal(write_csv(tmp_path / "a.csv", numbered({"x": 9})), tmp_path)


@pytest.mark.parametrize(("with_test", "rare", "needed"), [(False, 2, 3), (True, 1, 2)])
def test_a_rare_label_cannot_be_cut(tmp_path: Path, with_test: bool, rare: int, needed: int) -> None:
    path = write_csv(tmp_path / "a.csv", numbered({"x": 9, "y": 9, "rare": rare}))
    test = write_csv(tmp_path / "t.csv", numbered({"x": 2, "y": 2}, "नवी")) if with_test else None
    told = refusal(path, tmp_path, test_path=test and str(test))
    assert f"at least {needed} different texts" in told
    assert f"rare ({rare})" in told


def test_a_file_with_nothing_left_says_why(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [("", "x"), ("  ", "y"), ("अ", "")])
    assert "of 3 rows, 2 have no text, 1 no label" in refusal(path, tmp_path)
    path = write_csv(tmp_path / "b.csv", numbered({"x": 9, "y": 9}))
    assert "no text left for the test split" in refusal(path, tmp_path, test_path=str(path))


def test_an_unknown_dataset_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    assert "starter, mahanews-shc" in refusal(Path("mahanews-xyz"), tmp_path)
    assert "There is no file" in refusal(Path("~nobody-of-this-name/a.csv"), tmp_path)
    assert "is a folder" in refusal(tmp_path, tmp_path)
    assert refusal(Path("x" * 4000), tmp_path)


def test_labels_that_differ_in_case_are_pointed_out(tmp_path: Path) -> None:
    data = load(write_csv(tmp_path / "a.csv", numbered({"Crime": 5, "crime": 5})), tmp_path)
    assert data.labels == ("Crime", "crime")
    assert any("Crime, crime differ only in upper and lower case" in note for note in data.report.notes)


def test_cleaning_counts_everything_it_drops() -> None:
    rows = [
        ("  बातमी\u00a0 एक ", "x"),
        ("text", "label"),
        ("काहीतरी", "label"),
        ("", "x"),
        (" \u200b\n", "x"),
        ("बातमी दोन", " "),
        ("बातमी एक", "x"),
        ("बातमी  एक", "y"),
        ("बातमी तीन", "y"),
    ]
    part = Part([text for text, _ in rows], [label for _, label in rows], "text", "label")
    cleaned, reports, conflicts = clean({"all": part})
    assert cleaned["all"] == (["बातमी एक", "बातमी तीन"], ["x", "y"])
    assert reports["all"].model_dump() == {
        "rows_read": 9,
        "repeated_headers": 2,
        "empty_texts": 2,
        "empty_labels": 1,
        "duplicates": 2,
        "leaked": 0,
        "kept": 2,
        "repaired": 0,
    }
    assert conflicts == 1


def test_composed_and_decomposed_letters_are_one_text() -> None:
    decomposed = unicodedata.normalize("NFD", "ऱ्हास café")
    assert decomposed != "ऱ्हास café"
    assert normalise(decomposed) == normalise("ऱ्हास café")


def test_a_text_stays_in_the_first_split_it_stands_in() -> None:
    parts = {
        "train": Part(["अ", "आ"], ["x", "y"], "text", "label"),
        "validation": Part(["अ", "इ", "इ"], ["x", "x", "x"], "text", "label"),
        "test": Part(["आ", "आ", "इ", "ई"], ["x", "y", "x", "y"], "text", "label"),
    }
    cleaned, reports, conflicts = clean(parts)
    assert [cleaned[name].texts for name in parts] == [["अ", "आ"], ["इ"], ["ई"]]
    assert [(report.leaked, report.duplicates) for report in reports.values()] == [(0, 0), (1, 1), (2, 1)]
    assert conflicts == 1


def test_a_label_named_like_its_column_is_a_label_where_that_is_no_word_for_label() -> None:
    part = Part(["अ", "आ", "text"], ["spam", "ham", "spam"], "text", "spam")
    cleaned, reports, _ = clean({"all": part})
    assert cleaned["all"].labels == ["spam", "ham"]
    assert reports["all"].repeated_headers == 1


rows_of_texts = st.lists(
    st.tuples(
        st.text(st.sampled_from("aअ\u0915\u093c\u0958e\u0301é \t\u00a0\u200b"), max_size=5), st.sampled_from("xy ")
    )
)


@given(rows=rows_of_texts)
def test_cleaning_twice_changes_nothing_more(rows: list[tuple[str, str]]) -> None:
    first, reports, _ = clean({"all": Part([text for text, _ in rows], [label for _, label in rows], "text", "label")})
    once = first["all"]
    again, second_reports, conflicts = clean({"all": Part(once.texts, once.labels, "text", "label")})
    assert again["all"] == once
    assert conflicts == 0
    assert len(set(once.texts)) == len(once.texts)
    report = reports["all"]
    dropped = report.repeated_headers + report.empty_texts + report.empty_labels + report.duplicates + report.leaked
    assert report.rows_read == dropped + report.kept
    assert second_reports["all"].kept == second_reports["all"].rows_read


@given(text=st.text())
def test_normalising_is_idempotent(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.skipif(not REAL_FILE.exists(), reason=f"the sample {REAL_FILE.name} is not beside this repository")
def test_the_flaws_of_the_published_file_are_found(tmp_path: Path) -> None:
    data = load(REAL_FILE, tmp_path)
    report = data.report.splits["all"]
    assert (data.report.text_column, data.report.label_column) == ("Text", "Label")
    assert report.rows_read == 2761
    assert report.repeated_headers == 11
    # 367 texts are repeated if the headers count as texts: 10 of the 11 are repeats of the first.
    assert report.duplicates == 367 - 10
    assert data.report.conflicting_labels == 7
    assert len(data.labels) == 12
    assert "Label" not in data.labels
    assert sum(data.report.sizes.values()) == report.kept == 2761 - 11 - 357
    assert report.repaired == 146


def test_texts_to_classify_come_from_lines_or_a_column(tmp_path: Path) -> None:
    lines = tmp_path / "a.txt"
    lines.write_bytes("पहिली,  बातमी\r\n\r\n दुसरी\u2028बातमी\n".encode("utf-8-sig"))
    assert read_texts(lines, None).texts == ["पहिली, बातमी", "दुसरी बातमी"]
    path = write_csv(tmp_path / "a.csv", [("1", "पहिली बातमी"), ("2", ""), ("3", "पहिली बातमी")], header="id,कथा")
    assert read_texts(path, None).texts == ["पहिली बातमी", "पहिली बातमी"]
    assert read_texts(path, "id").texts == ["1", "2", "3"]
    assert read_texts(path, "id").notes == ()
    assert "column 'कथा' of a.csv" in read_texts(path, None).notes[0]


def test_a_file_without_a_text_to_classify_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n \n")
    with pytest.raises(DataError, match="holds no text"):
        read_texts(path, None)
    with pytest.raises(DataError, match=r"\.txt"):
        read_texts(REPOSITORY / "README.md" if (REPOSITORY / "README.md").exists() else Path(__file__), None)
    with pytest.raises(DataError, match="no column 'x'"):
        read_texts(write_csv(tmp_path / "a.csv", [("अ", "x")]), "x")


lengths_of_texts = st.lists(st.integers(1, 512), max_size=300)


@given(lengths=lengths_of_texts, size=st.integers(1, 40), seed=st.none() | st.integers(0, 5), epoch=st.integers(0, 3))
def test_batches_hold_each_index_once(lengths: list[int], size: int, seed: int | None, epoch: int) -> None:
    found = batches(lengths, size, seed=seed, epoch=epoch)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    assert sorted(map(len, found), reverse=True)[:-1] == [size] * (len(found) - 1)
    assert found == batches(lengths, size, seed=seed, epoch=epoch)


@given(lengths=lengths_of_texts, size=st.integers(1, 40))
def test_batches_without_a_seed_are_in_order_of_length(lengths: list[int], size: int) -> None:
    found = [lengths[index] for batch in batches(lengths, size) for index in batch]
    assert found == sorted(lengths)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_shuffled_batches_hold_similar_lengths_and_differ_by_epoch(seed: int) -> None:
    lengths = [10 + (i * 7919) % 491 for i in range(4000)]
    found = batches(lengths, 32, seed=seed)
    padding = sum(max(lengths[i] for i in batch) * len(batch) for batch in found) - sum(lengths)
    assert padding < 0.05 * sum(lengths), "random batches of these lengths would pad by 90 %"
    assert [len(batch) for batch in found] != sorted(len(batch) for batch in found) or len(set(map(len, found))) == 1
    longest = [max(lengths[i] for i in batch) for batch in found]
    assert longest != sorted(longest), "the order of the batches must not follow their lengths"
    assert {tuple(sorted(batch)) for batch in found} != {
        tuple(sorted(batch)) for batch in batches(lengths, 32, seed=seed, epoch=1)
    }


def test_batches_are_of_one_length_as_far_as_there_are_enough_texts_of_it() -> None:
    lengths = [12] * 100 + [13] * 70 + [40] * 5
    found = batches(lengths, 32, seed=0)
    uniform = [batch for batch in found if len({lengths[i] for i in batch}) == 1]
    assert len(uniform) == 100 // 32 + 70 // 32
    assert len(found) == 6


def test_a_batch_holds_at_least_one_text() -> None:
    with pytest.raises(ValueError, match="batch_size is 0"):
        batches([1, 2], 0)


def test_a_hundred_thousand_rows_take_seconds(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", numbered({f"वर्ग {i}": 10_000 for i in range(10)}))
    started = time.perf_counter()
    data = load(path, tmp_path)
    batches([len(text) for text in data.train.texts], 32, seed=0)
    assert sum(data.report.sizes.values()) == 100_000
    assert time.perf_counter() - started < 15, "about 1 s on an idle core"


def test_reading_data_imports_neither_torch_nor_anything_slow_before_it_must(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from engine.config import DataConfig; from engine.data import load_data;"
        "print([m for m in ('torch', 'transformers', 'datasets', 'pandas', 'requests') if m in sys.modules]);"
        f"load_data(DataConfig(), 0, Path({str(tmp_path)!r}));"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
    assert done.stderr == "", "no progress bar may reach the terminal"


def test_a_hundred_thousand_rows_of_every_kind_take_seconds(tmp_path: Path) -> None:
    rows = numbered({f"वर्ग {i}": 10_000 for i in range(10)})
    lines = "\n".join(f'{{"text": "{text}", "label": "{label}"}}' for text, label in rows)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    tabbed = "\n".join(["\ttext\tlabel", *(f"{i}\t{text}\t{label}" for i, (text, label) in enumerate(rows))])
    (tmp_path / "a.tsv").write_text(tabbed, encoding="utf-16")
    texts, labels = zip(*rows, strict=True)
    Dataset.from_dict({"text": texts, "label": labels}).to_parquet(tmp_path / "a.parquet")
    for kind in ("jsonl", "tsv", "parquet"):
        started = time.perf_counter()
        assert sum(load(tmp_path / f"a.{kind}", tmp_path).report.sizes.values()) == 100_000
        assert time.perf_counter() - started < 15, "about 1 s on an idle core"


def test_one_row_is_enough_to_classify_and_too_little_to_learn_from(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [("7", "पहिली बातमी")], header=",मथळा")
    assert read_texts(path, None).texts == ["पहिली बातमी"]
    assert "label" in refusal(write_csv(tmp_path / "b.csv", [("पहिली बातमी", "x")]), tmp_path)


def test_lines_of_text_in_utf_16_are_read(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "a.txt").write_bytes("पहिली बातमी\r\nदुसरी".encode(encoding))
        assert read_texts(tmp_path / "a.txt", None).texts == ["पहिली बातमी", "दुसरी"]


def test_a_file_as_pandas_writes_it_loses_its_index_and_keeps_numbers_as_labels(tmp_path: Path) -> None:
    rows = [(str(900 - i), f"मुंबईत आजची बातमी {i}", str(i % 3)) for i in range(60)]
    data = load(write_csv(tmp_path / "a.csv", rows, header=",a,b"), tmp_path)
    assert (data.report.text_column, data.report.label_column, data.labels) == ("a", "b", ("0", "1", "2"))
