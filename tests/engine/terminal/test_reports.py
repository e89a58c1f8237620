"""What the command line prints of answers and runs."""

from pathlib import Path

import pytest

from engine.config import RunConfig
from engine.inference import Prediction
from engine.store import RunStore
from engine.terminal.reports import print_predictions, print_run
from tests.engine.fake_training import model_loaded
from tests.engine.mask_events import compacted


def answer(text: str, windows: int, truncated: bool) -> Prediction:
    return Prediction(text, "Sports", 0.75, 1.5, {"Sports": 0.75, "Tech": 0.25}, 100 * windows, truncated, windows)


def test_a_text_read_in_windows_says_how_many_and_whether_its_end_was_read(capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions([answer("छोटी", 1, False), answer("मोठी", 3, False), answer("फार मोठी", 32, True)])
    short, long, longest = [line for line in capsys.readouterr().out.splitlines() if "Sports" in line]
    assert "read" not in short
    assert "(read in 3 windows)" in long
    assert "end was not read" not in long
    assert "(read in 32 windows) (its end was not read)" in longest


def test_an_unsure_answer_says_so_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions([answer("दिल्ली में बारिश", 1, False)._replace(doubt="other language"), answer("क्रिकेट", 1, False)])
    unsure, sure = [line for line in capsys.readouterr().out.splitlines() if "Sports" in line]
    assert "not sure (Sports?)" in unsure
    assert "(not sure: the text does not look like the language of the training texts)" in unsure
    assert "not sure" not in sure


def test_a_run_is_shown_with_the_widths_it_ended_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = RunStore(tmp_path / "runs.db")
    run = store.create(RunConfig(), "cpu")
    print_run(
        run, [model_loaded(40), compacted(10, {0: range(12), 1: range(12)}), compacted(30, {0: range(8), 1: range(4)})]
    )
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert run.run_id in first
    assert second.startswith("Step 30: FFN 16 -> 4 to 8 in 2 layers"), "the last of them counts"
    print_run(run)
    assert "FFN" not in capsys.readouterr().out
    store.close()
