"""What is wrong with a run is known before the run exists."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.before import preflight
from engine.before.preflight import MARGIN_BYTES, check, check_space, check_weights
from engine.config import RunConfig
from engine.errors import CheckpointError, ConfigError, DataError, JobError
from engine.files import bases
from engine.shapes import MURIL
from tests.engine.hub import running_hub
from tests.engine.tiny_bert import tiny_checkpoint, tiny_model


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    tiny_checkpoint(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    rows = [f"बातमी क्रमांक {number},{'खेळ' if number % 2 else 'राजकारण'}" for number in range(60)]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path


def show_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    for module in ("runs.devices", "before.preflight"):
        monkeypatch.setattr(f"engine.{module}.gpu_count", lambda: count)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    show_gpus(monkeypatch, 0)


def config(base: Path | str, data: Path | str, /, **parts: dict[str, Any]) -> RunConfig:
    values: dict[str, Any] = {"model": {"base": str(base)}, "data": {"source": str(data)}}
    for part, settings in parts.items():
        values[part] = {**values.get(part, {}), **settings}
    return RunConfig.parse(values)


def files_below(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_what_is_right_gives_the_report_of_the_data(base: Path, data: Path, home: Path) -> None:
    report = check(config(base, data), home)
    assert report.source == str(data)
    assert set(report.labels) == {"खेळ", "राजकारण"}
    assert sum(report.sizes.values()) == 60
    assert files_below(home) == [], "looking leaves nothing behind"


@pytest.mark.parametrize(
    ("parts", "field", "words"),
    [
        ({"training": {"device": "cuda"}}, "training.device", "Device is cuda, and this machine shows no GPU"),
        ({"training": {"device": "cuda:3"}}, "training.device", "Device is cuda:3"),
        ({"training": {"precision": "fp16"}}, "training.precision", "fp16, which needs a GPU"),
        ({"emissions": {"country": "ATA"}}, "emissions.country", "Country is ATA (Antarctica)"),
    ],
)
def test_settings_that_this_machine_cannot_do(
    base: Path, data: Path, home: Path, parts: dict[str, dict[str, Any]], field: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check(config(base, data, **parts), home)
    assert list(caught.value.fields) == [field]
    assert words in caught.value.fields[field]
    assert not home.exists()


@pytest.mark.parametrize(("count", "shown"), [(1, "only cuda:0"), (4, "cuda:0 to cuda:3")])
def test_a_gpu_that_is_not_there_is_refused(
    base: Path, data: Path, home: Path, monkeypatch: pytest.MonkeyPatch, count: int, shown: str
) -> None:
    show_gpus(monkeypatch, count)
    with pytest.raises(ConfigError, match=rf"Device is cuda:7, and this machine shows {shown}\. Try auto"):
        check(config(base, data, training={"device": "cuda:7"}), home)
    assert check(config(base, data, training={"device": f"cuda:{count - 1}"}), home).labels


def test_a_gpu_does_fp16(base: Path, data: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show_gpus(monkeypatch, 1)
    assert check(config(base, data, training={"precision": "fp16", "device": "cuda"}), home).labels


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def break_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def ask_for_code(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoModel": "x.Y"}}))


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (remove, "There is no base model"),
        (break_config, "config.json cannot be read"),
        (break_weights, "model.safetensors is torn"),
        (ask_for_code, "never run here"),
        (no_tokenizer, "holds no tokenizer"),
    ],
)
def test_a_base_that_cannot_be_used(
    base: Path, data: Path, home: Path, harm: Callable[[Path], None], words: str
) -> None:
    harm(base)
    with pytest.raises(CheckpointError) as caught:
        check(config(base, data), home)
    assert words in str(caught.value)
    assert files_below(home) == []


def test_a_starter_that_is_not_there(data: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "STARTER", tmp_path / "gone")
    with pytest.raises(CheckpointError, match="gone"):
        check(config("starter", data), home)


@pytest.mark.parametrize("zipped", [True, False])
def test_old_weights_are_looked_into(base: Path, zipped: bool) -> None:
    (base / "model.safetensors").unlink()
    path = base / "pytorch_model.bin"
    torch.save(tiny_model().state_dict(), path, _use_new_zipfile_serialization=zipped)
    check_weights(base)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is torn"):
        check_weights(base)


def test_old_weights_that_run_code_are_refused(base: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "marker",))

    (base / "model.safetensors").unlink()
    torch.save({"weight": Evil()}, base / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="was refused"):
        check_weights(base)
    assert not (tmp_path / "marker").exists()


def test_data_that_cannot_be_read(base: Path, data: Path, home: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv"):
        check(config(base, tmp_path / "gone.csv"), home)
    with pytest.raises(DataError, match="nonsense"):
        check(config(base, data, data={"text_column": "nonsense"}), home)
    data.write_text("text,label\n", encoding="utf-8")
    with pytest.raises(DataError):
        check(config(base, data), home)
    assert files_below(home) == []


def test_a_hub_id_is_asked_for_before_a_run(
    base: Path, data: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.models["someone/tiny"] = base
        assert check(config("someone/tiny", data), home).labels
        assert hub.fetched() == ["config.json"]
        with pytest.raises(CheckpointError, match="does not know it"):
            check(config("someone/other", data), home)


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    class Usage:
        free = count

    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: Usage)


def test_disk_space_for_the_papers_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = MURIL.parameters * 4 * 7 + MARGIN_BYTES
    free(monkeypatch, needed)
    check_space(MURIL.parameters, home)
    free(monkeypatch, needed - 1)
    with pytest.raises(JobError) as caught:
        check_space(MURIL.parameters, home)
    assert str(caught.value).startswith(f"The run needs up to 6.9 GB in {home}, and 6.9 GB are free.")
    assert "CHHATNI_HOME" in str(caught.value)


def test_a_full_disk_is_known_before_a_run(base: Path, data: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, MARGIN_BYTES // 2)
    with pytest.raises(JobError, match=r"needs up to 0\.2 GB .* and 0\.1 GB are free"):
        check(config(base, data), home)


def test_a_home_that_cannot_be_made(base: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match=r"home folder .* cannot be used"):
        check(config(base, data), tmp_path / "file" / "home")
