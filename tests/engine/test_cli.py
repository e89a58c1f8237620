"""The command line: what it accepts, prints, refuses, and leaves behind."""

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import BertConfig

from engine.cli import main
from engine.config import RunConfig
from engine.home import REPOSITORY
from engine.store import RunStore
from engine.terminal import reports
from tests.engine.fake_training import SVM, run_finished
from tests.engine.tiny_runs import write_base, write_texts

COMMANDS = ("train", "runs", "show", "stop", "resume", "classify", "bench")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHHATNI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "home"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_texts(tmp_path / "texts.csv")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base")


def printed_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_whole_story_from_training_to_classifying(
    home: Path, dataset: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(dataset), "--model", str(base), "--prune", "0.5", "--distill", "--max-steps", "4"]
    assert main(["train", *arguments, "--max-length", "16", "--precision", "fp32", "--name", "tiny", "--json"]) == 0
    result = printed_json(capsys)
    assert result["state"] == "done"
    assert result["student"]["parameters"] < result["dense"]["parameters"]
    for side in ("dense", "student"):
        assert set(result[side]) >= {"parameters", "size_bytes", "flops", "accuracy", "macro_f1", "latency_ms"}
        assert {"p50", "p95"} <= set(result[side]["latency_ms"])
    expected = {"speedup", "speedup_ceiling", "energy_kwh", "emissions_kg", "duration_s", "device", "precision", "data"}
    assert expected <= set(result)

    assert main(["runs", "--json"]) == 0
    assert [run["state"] for run in printed_json(capsys)] == ["done"]
    assert main(["show", "tiny", "--json"]) == 0
    assert printed_json(capsys)["run_id"] == result["run_id"]
    for command in (["runs"], ["show", result["run_id"]]):
        assert main(command) == 0
        assert "50 %" in capsys.readouterr().out

    texts = dataset.parent / "lines.txt"
    texts.write_text("क्रिकेट सामना\nडॉक्टर औषध\n", encoding="utf-8")
    assert main(["classify", "--model", "tiny", "--file", str(texts), "किल्ला समुद्र", "--json"]) == 0
    answers = printed_json(capsys)
    assert [answer["text"] for answer in answers] == ["किल्ला समुद्र", "क्रिकेट सामना", "डॉक्टर औषध"]
    for answer in answers:
        assert answer["label"] in ("खेळ", "आरोग्य", "प्रवास")
        assert 0 < answer["confidence"] <= 1
        assert answer["latency_ms"] > 0

    assert main(["stop", "tiny"]) == 2
    assert main(["resume", "tiny"]) == 2
    assert "done" in capsys.readouterr().err


def test_a_detached_run_is_stopped_and_resumed(
    home: Path, dataset: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(dataset), "--model", str(base), "--max-steps", "100000", "--max-length", "16"]
    assert main(["train", *arguments, "--precision", "fp32", "--detach", "--json"]) == 0
    run_id = printed_json(capsys)["run_id"]
    assert main(["stop", run_id]) == 0
    store = RunStore(home / "runs.db")
    assert wait_for_end(store, run_id) == "stopped"
    assert main(["resume", run_id, "--detach"]) == 0
    assert main(["stop", run_id, "--force"]) == 0
    assert wait_for_end(store, run_id) in ("stopped", "interrupted")


def wait_for_end(store: RunStore, run_id: str) -> str:
    import time

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = store.get(run_id).state
        if state in ("stopped", "interrupted", "failed", "done"):
            return state
        time.sleep(0.1)
    raise AssertionError(f"still {state} after 60 s")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere.csv"], "nowhere.csv"),
        (["--data", "{dataset}", "--label-column", "topic"], "topic"),
        (["--data", "{one_label}"], "one label"),
        (["--data", "{once}"], "rare"),
        (["--data", "{bytes}"], "UTF-8"),
        (["--prune", "1.0"], "Pruning level is 1.0"),
        (["--prune", "25"], "Did you mean 0.25"),
        (["--prune", "much"], "Pruning level is much"),
        (["--epochs", "0", "--batch-size", "x", "--country", "Wakanda"], "Epochs is 0"),
        (["--model", "no-such-run"], "no-such-run"),
        (["--model", "{pickle}"], "safetensors"),
        (["--precision", "fp16", "--device", "cpu"], "needs a GPU"),
        (["--model", "owner/no-such-model"], "cannot be fetched"),
    ],
)
def test_wrong_input_is_one_clear_error_and_leaves_no_run(
    home: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    files = {
        "dataset": dataset,
        "one_label": tmp_path / "one_label.csv",
        "once": tmp_path / "once.csv",
        "bytes": tmp_path / "bytes.csv",
        "pickle": tmp_path / "pickle",
    }
    files["one_label"].write_text("text,label\nएक,खेळ\nदोन,खेळ\nतीन,खेळ\n", encoding="utf-8")
    files["once"].write_text(dataset.read_text(encoding="utf-8") + "एकटा,rare\n", encoding="utf-8")
    files["bytes"].write_bytes(b"text,label\n\xe0\xa4\xff\xfe,x\n")
    files["pickle"].mkdir()
    BertConfig(num_hidden_layers=1, hidden_size=32, num_attention_heads=2).save_pretrained(files["pickle"])
    (files["pickle"] / "vocab.txt").write_text("[UNK]\n")
    torch.save({"weight": Path("/")}, files["pickle"] / "pytorch_model.bin")  # a class that unpickling would call
    filled = [argument.format(**files) for argument in arguments]
    if "--data" not in filled:
        filled += ["--data", str(dataset)]
    if "--model" not in filled:
        filled += ["--model", "compact"]
    assert main(["train", *filled]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert RunStore(home / "runs.db").runs() == []
    assert not list((home / "runs").glob("*"))


def test_a_result_stands_beside_the_svm_on_the_same_texts(capsys: pytest.CaptureFixture[str]) -> None:
    result = run_finished("a").result
    reports.print_result(Console(), result)
    assert "SVM" not in capsys.readouterr().out
    student = result.student.model_copy(update={"test_accuracy": 0.6})
    reports.print_result(Console(), result.model_copy(update={"svm": SVM, "student": student}))
    shown = " ".join(capsys.readouterr().out.split())
    assert "Test accuracy 62.50 %, macro-F1 50.00 %" in shown
    assert "The student does not beat it: 60.00 % to the SVM's 62.50 %." in shown


def test_a_model_of_our_own_format_is_told_to_need_chhatni(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = run_finished("a").result
    for stock in (True, False):
        reports.print_result(Console(), result.model_copy(update={"stock": stock}))
        assert ("Chhatni's own format" in " ".join(capsys.readouterr().out.split())) != stock


def test_classify_without_text_or_with_a_random_base_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify"]) == 2
    assert "No text is given" in capsys.readouterr().err
    assert main(["classify", "--model", "muril-shape", "मजकूर"]) == 2
    assert "random weights" in capsys.readouterr().err


def test_an_empty_text_or_limit_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "मजकूर", " \n"]) == 2
    assert "Text 2 is empty" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["runs", "--limit", "-3"])
    assert ended.value.code == 2


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_terminal_that_does_not_know_a_letter_ends_nothing(
    home: Path, base: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    for shown in ([], ["--json"]):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding, write_through=True))
        assert main(["classify", "--model", str(base), "मजकूर \udcff", *shown]) == 0
    assert json.loads(written.getvalue().decode(encoding))[0]["text"] == "मजकूर \udcff"


def test_what_the_system_refuses_is_one_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("engine.bench.benchmark.run_bench", lambda *_: {})
    monkeypatch.setattr("engine.bench.tables.print_bench", print)
    assert main(["bench", "--output", str(tmp_path / "file" / "out.json")]) == 2
    captured = capsys.readouterr()
    assert captured.out == "{}\n", "what was measured is shown all the same"
    assert "file" in captured.err
    assert "Not a directory" in captured.err or "File exists" in captured.err
    assert main(["bench", "--output", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    monkeypatch.setenv("CHHATNI_HOME", "~nobody-of-this-name/x")
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 0


def test_ctrl_c_asks_once_and_then_looks_away(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(home / "runs.db")
    run = store.create(RunConfig(), "cpu")
    store.set_process(run, os.getpid(), None)

    def press(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", press)
    seen = reports.follow(store, run)
    assert seen.state == "queued"
    assert seen.stop_requested
    monkeypatch.setattr("engine.cli._runs", lambda *_: press(0))
    assert main(["runs"]) == 130


def test_the_id_of_a_run_is_never_cut(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    run = RunStore(home / "runs.db").create(RunConfig(name="a long name " * 8), "cpu")
    assert main(["runs"]) == 0
    assert run.run_id in capsys.readouterr().out


def test_bench_prints_parameters_and_ceilings(home: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", str(base), "--levels", "0,0.5", "--sequence-length", "16", "--batch-size", "2"]
    assert main(["bench", *arguments, "--rounds", "3", "--json"]) == 0
    result = printed_json(capsys)
    rows = result["sections"]["latency"]["rows"]
    assert [row["intermediate_size"] for row in rows[:2]] == [64, 32]
    assert rows[1]["speedup_ceiling"] > 1
    assert main(["bench", *arguments, "--rounds", "3"]) == 0
    assert "FLOPs ceiling" in capsys.readouterr().out
    assert main(["bench", "--levels", "0,1.5", "--model", str(base)]) == 2
    assert "Pruning level is 1.5" in capsys.readouterr().err


def test_an_interrupted_bench_leaves_the_former_file(
    home: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(settings: object, home: Path, say: object) -> None:
        raise KeyboardInterrupt

    output = tmp_path / "latest.json"
    output.write_text("former")
    monkeypatch.setattr("engine.bench.benchmark.run_bench", press)
    assert main(["bench", "--model", str(base), "--output", str(output)]) == 130
    assert output.read_text() == "former"
    assert list(tmp_path.glob(".latest*")) == []
    assert "Interrupted" in capsys.readouterr().err


def test_a_bench_is_told_by_lists(
    home: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(
        "engine.bench.benchmark.run_bench", lambda settings, home, say: told.append(settings) or {"a": 1}
    )
    output = tmp_path / "deep" / "latest.json"
    arguments = ["--sections", "step,run", "--shapes", "6x768", "--precision", "fp32,auto", "--layers", "2"]
    assert main(["bench", "--model", str(base), *arguments, "--json", "--output", str(output)]) == 0
    assert told[0].sections == ("step", "run")
    assert (told[0].shapes, told[0].precisions, told[0].layers) == (((6, 768),), ("fp32", "auto"), 2)
    assert json.loads(output.read_text()) == printed_json(capsys) == {"a": 1}
    assert main(["bench", "--sections", "all", "--levels", "x", "--rounds", "0"]) == 2
    complaints = capsys.readouterr().err
    assert all(words in complaints for words in ("Section is 'all'", "Levels are 'x'", "Number of rounds is 0"))
    assert len(told) == 1, "nothing was measured"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json_and_stands_in_the_readme(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"python -m engine {command}\b", readme), f"{command} is not in the README"


def test_no_command_prints_the_map_of_the_engine() -> None:
    done = subprocess.run([sys.executable, "-m", "engine"], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 2
    assert "RunConfig -> jobs -> worker -> training -> events -> store -> charts -> pages" in done.stdout


def test_threads_are_left_as_they_were_after_a_bench(home: Path, base: Path) -> None:
    before = torch.get_num_threads()
    main(["bench", "--model", str(base), "--levels", "0.5", "--sequence-length", "8", "--rounds", "1", "--json"])
    assert torch.get_num_threads() == before
