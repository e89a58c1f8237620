"""What the command line prints of answers."""

import pytest

from engine.inference import Prediction
from engine.reports import print_predictions


def answer(text: str, windows: int, truncated: bool) -> Prediction:
    return Prediction(text, "Sports", 0.75, 1.5, {"Sports": 0.75, "Tech": 0.25}, 100 * windows, truncated, windows)


def test_a_text_read_in_windows_says_how_many_and_whether_its_end_was_read(capsys: pytest.CaptureFixture[str]) -> None:
    print_predictions([answer("छोटी", 1, False), answer("मोठी", 3, False), answer("फार मोठी", 32, True)])
    short, long, longest = [line for line in capsys.readouterr().out.splitlines() if "Sports" in line]
    assert "read" not in short
    assert "(read in 3 windows)" in long
    assert "end was not read" not in long
    assert "(read in 32 windows) (its end was not read)" in longest
