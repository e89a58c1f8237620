"""Resume states and models on disk: whole or not there."""

import errno
import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from engine import checkpoints
from engine.checkpoints import ResumeState, digest_text, load_resume_state, save_model, save_resume_state
from engine.errors import CheckpointError
from engine.runs.failures import describe_failure
from tests.engine.tiny_bert import LABELS, TEXTS, tiny_model, tiny_tokenizer

CONFIG = digest_text("config")
FILES = ("manifest.json", "model.safetensors", "state.pt")


def trained(steps: int = 3) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        step(model, optimizer)
    return model, optimizer


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.ones(3, 4)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def resume_state(number: int = 120, config: str = CONFIG) -> ResumeState:
    model, optimizer = trained()
    state = {
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "skipped": 2,
        "scaler": None,
    }
    facts = {"precision": "fp32", "elapsed_s": 1.5, "नाव": ["क", 1]}
    return ResumeState(number, config, dict(model.state_dict()), state, facts)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second) and first.dtype == second.dtype
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = resume_state()
    size = save_resume_state(tmp_path / "resume", saved)
    loaded, reasons = load_resume_state(tmp_path / "resume", CONFIG)
    assert loaded is not None
    assert reasons == []
    assert (loaded.step, loaded.config_hash, loaded.facts) == (120, CONFIG, saved.facts)
    assert same(loaded.model, saved.model)
    assert same(loaded.state, saved.state)
    folder = tmp_path / "resume" / "step-00000120"
    assert names(folder) == list(FILES)
    assert size == sum(path.stat().st_size for path in folder.iterdir())


def test_training_goes_on_exactly_where_it_was(tmp_path: Path) -> None:
    save_resume_state(tmp_path, resume_state())
    loaded, _ = load_resume_state(tmp_path, CONFIG)
    assert loaded is not None
    model, optimizer = trained(steps=0)
    model.load_state_dict(loaded.model)
    optimizer.load_state_dict(loaded.state["optimizer"])
    straight, straight_optimizer = trained()
    step(model, optimizer)
    step(straight, straight_optimizer)
    assert same(dict(model.state_dict()), dict(straight.state_dict()))


def test_only_the_newest_state_is_kept(tmp_path: Path) -> None:
    for number in (1, 20, 300):
        save_resume_state(tmp_path, resume_state(number))
        assert names(tmp_path) == [f"step-{number:08d}"]


def test_the_same_step_can_be_saved_again(tmp_path: Path) -> None:
    save_resume_state(tmp_path, resume_state(7))
    save_resume_state(tmp_path, resume_state(7))
    assert names(tmp_path) == ["step-00000007"]
    assert load_resume_state(tmp_path, CONFIG)[0] is not None


def test_views_and_slices_are_saved_whole(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    save_resume_state(tmp_path, ResumeState(1, CONFIG, {"turned": base.T, "part": base[1:, 1]}, {}, {}))
    loaded, _ = load_resume_state(tmp_path, CONFIG)
    assert loaded is not None
    assert same(loaded.model, {"turned": base.T.contiguous(), "part": base[1:, 1].contiguous()})


def test_nothing_there_is_no_state(tmp_path: Path) -> None:
    assert load_resume_state(tmp_path / "none", CONFIG) == (None, [])
    assert load_resume_state(tmp_path, CONFIG) == (None, [])


def two_states(folder: Path) -> Path:
    """Leave an older state beside a newer one, as a crash between saving and tidying up does; return the newer."""
    save_resume_state(folder / "old", resume_state(10))
    save_resume_state(folder, resume_state(20))
    (folder / "old" / "step-00000010").rename(folder / "step-00000010")
    (folder / "old").rmdir()
    return folder / "step-00000020"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x41
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("harm", [truncate, empty, flip, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_a_torn_state_is_passed_over_for_an_older_whole_one(
    tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    newer = two_states(tmp_path)
    harm(newer / name)
    loaded, reasons = load_resume_state(tmp_path, CONFIG)
    assert loaded is not None
    assert loaded.step == 10
    assert len(reasons) == 1
    assert "step-00000020" in reasons[0]
    harm(tmp_path / "step-00000010" / name)
    loaded, reasons = load_resume_state(tmp_path, CONFIG)
    assert loaded is None
    assert len(reasons) == 2


def test_the_newest_whole_state_is_used(tmp_path: Path) -> None:
    two_states(tmp_path)
    loaded, reasons = load_resume_state(tmp_path, CONFIG)
    assert loaded is not None
    assert (loaded.step, reasons) == (20, [])


def test_a_state_of_other_settings_is_passed_over(tmp_path: Path) -> None:
    save_resume_state(tmp_path, resume_state(config=digest_text("other")))
    loaded, reasons = load_resume_state(tmp_path, CONFIG)
    assert loaded is None
    assert "belongs to a run with other settings" in reasons[0]


def test_not_one_flipped_byte_of_a_manifest_is_believed(tmp_path: Path) -> None:
    save_resume_state(tmp_path, ResumeState(3, CONFIG, {"w": torch.ones(2)}, {"n": 1}, {"elapsed_s": 1.25}))
    manifest = tmp_path / "step-00000003" / "manifest.json"
    whole = manifest.read_bytes()
    for position in range(len(whole)):
        manifest.write_bytes(whole[:position] + bytes([whole[position] ^ 0x01]) + whole[position + 1 :])
        loaded, reasons = load_resume_state(tmp_path, CONFIG)
        if whole[position : position + 1].isspace():
            continue  # between two words it says nothing
        assert loaded is None, manifest.read_bytes()
        assert len(reasons) == 1
    manifest.write_bytes(whole)
    assert load_resume_state(tmp_path, CONFIG)[0] is not None


@pytest.mark.parametrize(
    "manifest",
    ["null", "[]", "{}", '"text"', '{"format": 99, "step": 1, "config": "x", "files": {}, "facts": {}}', "[" * 100_000],
)
def test_a_foreign_manifest_is_passed_over(tmp_path: Path, manifest: str) -> None:
    save_resume_state(tmp_path, resume_state())
    (tmp_path / "step-00000120" / "manifest.json").write_text(manifest)
    loaded, reasons = load_resume_state(tmp_path, CONFIG)
    assert loaded is None
    assert "step-00000120" in reasons[0]


def forge(folder: Path, **changes: object) -> None:
    """Change a manifest and make its digest right again."""
    manifest = {**json.loads((folder / "manifest.json").read_text(encoding="utf-8")), **changes}
    del manifest["digest"]
    manifest["digest"] = digest_text(json.dumps(manifest))
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_a_manifest_that_is_right_is_believed(tmp_path: Path) -> None:
    save_resume_state(tmp_path, resume_state())
    forge(tmp_path / "step-00000120", step=121)
    loaded, reasons = load_resume_state(tmp_path, CONFIG)
    assert reasons == []
    assert loaded is not None
    assert loaded.step == 121


def test_a_manifest_that_names_no_files_is_not_believed(tmp_path: Path) -> None:
    save_resume_state(tmp_path, resume_state())
    folder = tmp_path / "step-00000120"
    forge(folder, files={})
    flip(folder / "model.safetensors")
    loaded, reasons = load_resume_state(tmp_path, CONFIG)
    assert loaded is None
    assert len(reasons) == 1


def test_a_file_in_place_of_a_state_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "step-00000001").write_text("x")
    loaded, reasons = load_resume_state(tmp_path, CONFIG)
    assert loaded is None
    assert len(reasons) == 1


def test_a_state_with_code_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    save_resume_state(tmp_path / "resume", resume_state())
    folder = tmp_path / "resume" / "step-00000120"
    torch.save({"optimizer": Runs(marker)}, folder / "state.pt")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    path = folder / "state.pt"
    files["state.pt"] = [path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()]
    forge(folder, files=files)
    loaded, reasons = load_resume_state(tmp_path / "resume", CONFIG)
    assert loaded is None
    assert "torn" in reasons[0]
    assert not marker.exists()


class Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (Path.touch, (self.marker,))  # type: ignore[return-value]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        PermissionError(errno.EACCES, "Permission denied"),
    ],
)
@pytest.mark.parametrize("writer", ["save_file", "torch.save"])
def test_a_full_disk_leaves_the_older_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, writer: str
) -> None:
    save_resume_state(tmp_path, resume_state(10))

    def fail(content: object, path: Path) -> None:
        Path(path).write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(checkpoints if writer == "save_file" else torch, writer.rpartition(".")[2], fail)
    with pytest.raises(CheckpointError, match="step 20 cannot be saved") as caught:
        save_resume_state(tmp_path, resume_state(20))
    assert "Free disk space or check the permissions" in str(caught.value)
    assert names(tmp_path) == ["step-00000010"]
    monkeypatch.undo()
    loaded, reasons = load_resume_state(tmp_path, CONFIG)
    assert loaded is not None
    assert (loaded.step, reasons) == (10, [])
    if "space" in str(error):
        assert "no space left" in describe_failure(caught.value, tmp_path).message


def test_a_state_below_a_file_cannot_be_saved(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be saved"):
        save_resume_state(tmp_path / "file" / "resume", resume_state())
    with pytest.raises(CheckpointError, match="cannot be saved"):
        save_model(tmp_path / "file" / "model", tiny_model(), tiny_tokenizer())


def test_a_saved_model_is_stock(tmp_path: Path) -> None:
    model = tiny_model()
    save_model(tmp_path / "model", model, tiny_tokenizer())
    assert names(tmp_path) == ["model"]
    assert "model.safetensors" in names(tmp_path / "model")
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert list(stock.config.id2label.values()) == list(LABELS)
    assert all(torch.equal(value, stock.state_dict()[name]) for name, value in model.state_dict().items())
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "model")(TEXTS[0])["input_ids"]
        == tiny_tokenizer()(TEXTS[0])["input_ids"]
    )


def test_others_may_read_a_saved_model(tmp_path: Path) -> None:
    save_model(tmp_path / "model", tiny_model(), tiny_tokenizer())
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o755
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()}
    assert set(modes.values()) == {0o644}, modes


def test_a_model_that_cannot_be_saved_leaves_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    model, tokenizer = tiny_model(), tiny_tokenizer()
    save_model(folder, model, tokenizer)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tokenizer, "save_pretrained", fail)
    with pytest.raises(CheckpointError, match="The model cannot be saved"):
        save_model(folder, model, tokenizer)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert names(tmp_path) == ["model"]
