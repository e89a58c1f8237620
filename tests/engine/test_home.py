from pathlib import Path

import pytest

from engine import home
from engine.errors import JobError


def test_the_environment_names_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHHATNI_HOME", str(tmp_path / "here"))
    assert home.default_home() == tmp_path / "here"
    monkeypatch.setenv("CHHATNI_HOME", "~/there")
    assert home.default_home() == Path.home() / "there"
    for unnamed in ("", "  "):
        monkeypatch.setenv("CHHATNI_HOME", unnamed)
        assert home.default_home() == home.REPOSITORY / "checkpoints"
    monkeypatch.delenv("CHHATNI_HOME")
    assert home.default_home() == home.REPOSITORY / "checkpoints"
    assert (home.REPOSITORY / "engine" / "home.py").is_file()


def test_a_relative_home_stays_where_it_was_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHHATNI_HOME", "here")
    assert home.default_home() == tmp_path / "here"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            "..",
            "a/b",
            "A",
            "a b",
            "a\n",
            "अ",
            "a" * 65,
            "a" * 100_000,
            "../../x",
            "/etc",
            "a\0",
            "\0",
            "~",
            "a\\b",
        ),
        *(
            "․․",
            "ａ",
            "а",
            "١",
            "a\u200b",
            "a\u202e",
            "\ud800",
            "%2e%2e",
            "con.",
            "a.",
            "$HOME",
            "*",
            "a;b",
            "a\r",
            "-rf",
            "-",
        ),
    ],
)
def test_only_a_run_id_becomes_a_folder(tmp_path: Path, text: str) -> None:
    with pytest.raises(JobError, match="is not a run id"):
        home.run_folder(tmp_path, text)


def test_a_run_has_a_folder(tmp_path: Path) -> None:
    assert home.run_folder(tmp_path, "20261120-211502-k3f9") == tmp_path / "runs" / "20261120-211502-k3f9"


def test_a_lock_has_a_file_in_a_folder_that_is_made(tmp_path: Path) -> None:
    assert home.lock_path(tmp_path / "new", "cpu") == tmp_path / "new" / "locks" / "cpu.lock"
    assert (tmp_path / "new" / "locks").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="cannot be made"):
        home.lock_path(tmp_path / "file", "cpu")
