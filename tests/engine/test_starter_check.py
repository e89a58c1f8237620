"""The check of a model on labelled texts it has not seen, and on texts that have no topic."""

import json
from collections import Counter
from pathlib import Path

import pytest

from engine import starter_check
from engine.data import STARTER as CORPUS
from engine.files.bases import STARTER
from engine.inference import load_classifier
from engine.starter_check import Found, Outside, check_outside, main, read_outside, section, write_section


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("check") / "real.csv"
    rows = [
        ("पुणे कसोटीत भारताचा डावाने विजय; फिरकीपटूंची कमाल", "Sports"),
        ("विश्वचषकासाठी महिला क्रिकेट संघ जाहीर, कर्णधारपद मुंबईकडे", "Sports"),
        ("नव्या इलेक्ट्रिक स्कूटरचे बुकिंग सुरू; एका चार्जमध्ये १२० किमी धावणार", "Auto"),
        ("घरफोडी करणाऱ्या दोघांना पोलिसांकडून अटक, दागिने जप्त", "Sports"),
    ]
    path.write_text("Text,Label\n" + "".join(f'"{text}",{label}\n' for text, label in rows), encoding="utf-8")
    return path


def test_the_figures_fit_one_another(labelled: Path, tmp_path: Path) -> None:
    found = starter_check.check(labelled, tmp_path)
    assert found.texts == 4
    assert sum(map(sum, found.confusion)) == 4
    right = sum(found.confusion[place][place] for place in range(len(found.labels)))
    assert found.accuracy == right / 4
    assert sum(found.confusion[found.labels.index("Sports")]) == 3, "rows are the labels of the file"
    assert found.accuracy <= 0.75, "a burglary is no sport"
    assert found.sure == pytest.approx(1 - sum(found.doubts.values()) / 4)
    assert 0.0 <= found.ece <= 1.0


def test_texts_without_a_topic_are_mostly_not_answered(tmp_path: Path) -> None:
    found = {each.kind: each for each in check_outside(load_classifier("starter", tmp_path))}
    assert Counter(kind for kind, _ in read_outside()) == {kind: each.texts for kind, each in found.items()}
    for kind, least in (("hindi", 0.97), ("english", 0.99), ("romanised", 0.99), ("nonsense", 0.82), ("other", 0.92)):
        assert found[kind].unsure >= least * found[kind].texts, kind


def test_texts_without_a_topic_are_not_in_the_corpus() -> None:
    corpus = CORPUS.read_text(encoding="utf-8")
    texts = [text for _, text in read_outside()]
    assert len(set(texts)) == len(texts) >= 700
    assert [text for text in texts if f"\n{text}," in corpus] == []


FOUND = Found(
    9, 0.5, 0.4, 0.6, 0.5, 0.1, 0.7, 0.8, {"low probability": 3}, ("A", "B"), [[4, 1], [2, 2]], [Outside("hindi", 4, 3)]
)


def test_the_card_holds_one_section_however_often_it_is_written(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("# Starter\n\nAbout it.\n", encoding="utf-8")
    write_section(card, section(FOUND, "x.csv"))
    once = card.read_text(encoding="utf-8")
    write_section(card, section(FOUND, "x.csv"))
    assert card.read_text(encoding="utf-8") == once
    assert once.startswith("# Starter\n\nAbout it.\n\n## On real headlines\n")
    assert "| A | 4 | 1 | 80.00 % |\n| B | 2 | 2 | 50.00 % |" in once
    assert "| hindi | 4 | 75.00 % |" in once
    assert "Why not of the others: 3 low probability." in once


def test_the_command_prints_json_and_leaves_the_card_alone(
    labelled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(starter_check, "check", lambda path, home, model: asked.append(path) or FOUND)
    before = (STARTER / "README.md").read_text(encoding="utf-8")
    assert main([str(labelled), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == 9
    assert asked == [labelled]
    assert (STARTER / "README.md").read_text(encoding="utf-8") == before
