"""Bases found by name: what there is, what is refused, and models fetched from a hub that runs in this process."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.errors import CheckpointError
from engine.files import bases
from engine.files.bases import Base, base_shape, download, find_base, look_up
from engine.model import load_base
from engine.shapes import COMPACT, MURIL
from tests.engine.hub import Hub, running_hub
from tests.engine.tiny_bert import LABELS, TEXTS, tiny_checkpoint, tiny_tokenizer

RUN_ID = "20261120-211502-k3f9"
MODEL = "someone/tiny-bert"


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(CheckpointError) as caught:
        action()
    return str(caught.value)


def change(path: Path, **values: object) -> None:
    former = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**former, **values}), encoding="utf-8")


def test_the_starter_is_a_folder_that_ships(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "STARTER", checkpoint)
    base = find_base("starter", tmp_path)
    assert base == Base("starter", "starter", checkpoint)
    assert base.trained
    monkeypatch.setattr(bases, "STARTER", tmp_path / "gone")
    assert str(tmp_path / "gone") in refusal(lambda: find_base("starter", tmp_path))


def test_random_shapes_need_no_files(tmp_path: Path) -> None:
    compact, muril = find_base("compact", tmp_path), find_base("muril-shape", tmp_path)
    assert (base_shape(compact), base_shape(muril)) == (COMPACT, MURIL)
    assert not compact.trained
    assert not muril.trained
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_a_base(checkpoint: Path, tmp_path: Path) -> None:
    model = tmp_path / "runs" / RUN_ID / "model"
    shutil.copytree(checkpoint, model)
    base = find_base(RUN_ID, tmp_path)
    assert base == Base(RUN_ID, "run", model)
    shape = base_shape(base)
    assert shape is not None
    assert (shape.hidden_size, shape.labels) == (32, 3)


def test_an_unfinished_run_is_none(tmp_path: Path) -> None:
    (tmp_path / "runs" / RUN_ID / "resume").mkdir(parents=True)
    message = refusal(lambda: find_base(RUN_ID, tmp_path))
    assert message.startswith(f"Run {RUN_ID} has no finished model")


def test_a_local_folder_is_a_base(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_base(str(copied), tmp_path) == Base(str(copied), "folder", copied)
    monkeypatch.chdir(tmp_path)
    assert find_base("copied", tmp_path).kind == "folder"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_base("~/copied", tmp_path).folder == copied
    (tmp_path / "owner").mkdir()
    copied.rename(tmp_path / "owner" / "name")
    assert find_base("owner/name", tmp_path).kind == "folder", "what is here goes before the hub"


def test_owner_and_name_is_a_hub_id(tmp_path: Path) -> None:
    base = find_base(MODEL, tmp_path)
    assert base == Base(MODEL, "hub", None)
    assert base_shape(base) is None
    assert base.trained


@pytest.mark.parametrize(
    "name",
    [
        "startr",
        "bert-base-uncased",
        "/no/such/folder",
        "a/b/c",
        "../x",
        "./x",
        "owner/",
        "/name",
        "",
        " ",
        "a\0b/c",
        "~nobody-of-that-name/model",
        "https://huggingface.co/owner/name",
        "owner/name\n",
        "COMPACT",
        "20261120-211502-none",
    ],
)
def test_unknown_names_are_refused(name: str, tmp_path: Path) -> None:
    message = refusal(lambda: find_base(name, tmp_path))
    assert repr(name) in message
    assert "python -m engine runs" in message


def test_a_name_too_long_for_a_path_is_refused(tmp_path: Path) -> None:
    message = refusal(lambda: find_base("x" * 4096, tmp_path))
    assert "too long" in message
    assert len(message) < 300


def test_a_file_is_no_base(copied: Path, tmp_path: Path) -> None:
    assert "no base model" in refusal(lambda: find_base(str(copied / "model.safetensors"), tmp_path))


def test_a_folder_of_another_model_is_refused(copied: Path, tmp_path: Path) -> None:
    change(copied / "config.json", model_type="roberta")
    assert "'roberta'; only 'bert' is supported" in refusal(lambda: find_base(str(copied), tmp_path))


@pytest.mark.parametrize("text", ["", '{"model_type": "be', "\x00\x01", "[" * 100_000])
def test_a_torn_config_is_refused(copied: Path, tmp_path: Path, text: str) -> None:
    (copied / "config.json").write_text(text)
    assert "config.json cannot be read" in refusal(lambda: find_base(str(copied), tmp_path))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_folder_that_asks_for_code_is_refused(copied: Path, tmp_path: Path, name: str) -> None:
    change(copied / name, auto_map={"AutoModel": "modeling_evil.Evil"})
    message = refusal(lambda: find_base(str(copied), tmp_path))
    assert name in message
    assert "modeling_evil.Evil" in message
    assert "never run" in message


def test_a_torn_tokenizer_config_is_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "tokenizer_config.json").write_text("{")
    assert "tokenizer_config.json cannot be read" in refusal(lambda: find_base(str(copied), tmp_path))


def test_a_folder_without_weights_is_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "model.safetensors").unlink()
    assert "holds no model.safetensors and no pytorch_model.bin" in refusal(lambda: find_base(str(copied), tmp_path))
    (copied / "pytorch_model.bin").write_bytes(b"")
    assert find_base(str(copied), tmp_path).kind == "folder", "whether it is whole shows when it is loaded"


def test_a_folder_without_a_tokenizer_is_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "tokenizer.json").unlink()
    assert "holds no tokenizer" in refusal(lambda: find_base(str(copied), tmp_path))


def test_a_model_comes_from_the_hub(hub: Hub, copied: Path, tmp_path: Path) -> None:
    for name in ("README.md", "pytorch_model.bin", "training_args.bin", "flax_model.msgpack", "modeling_evil.py"):
        (copied / name).write_text("not wanted")
    hub.models[MODEL] = copied
    home = tmp_path / "home"
    shape = look_up(MODEL, home)
    assert (shape.hidden_size, shape.layers) == (32, 2)
    assert hub.fetched() == ["config.json"], "looking up downloads no weights"
    loaded = load_base(find_base(MODEL, home), LABELS, TEXTS, 0, home)
    assert hub.fetched() == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    reference = tiny_checkpoint(tmp_path / "reference")
    assert all(torch.equal(value, loaded.model.state_dict()[name]) for name, value in reference.state_dict().items())
    assert loaded.has_head
    assert loaded.trained
    assert loaded.tokenizer.get_vocab() == tiny_tokenizer().get_vocab()
    assert download(MODEL, home).is_relative_to(home / "cache" / "hub")


def test_an_old_model_without_safetensors_comes_too(hub: Hub, copied: Path, tmp_path: Path) -> None:
    model = tiny_checkpoint(tmp_path / "reference")
    torch.save(model.state_dict(), copied / "pytorch_model.bin")
    (copied / "model.safetensors").rename(copied / "adapter_model.safetensors")
    hub.models[MODEL] = copied
    folder = download(MODEL, tmp_path / "home")
    assert (folder / "pytorch_model.bin").is_file()
    assert not (folder / "adapter_model.safetensors").exists()


def test_the_second_time_works_without_the_hub(
    hub: Hub, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("README.md", "pytorch_model.bin"):
        (copied / name).write_text("never downloaded, and never missed")
    hub.models[MODEL] = copied
    home = tmp_path / "home"
    folder = download(MODEL, home)
    with running_hub() as other:
        gone = other.url
    monkeypatch.setenv("HF_ENDPOINT", gone)
    began = time.monotonic()
    assert look_up(MODEL, home).hidden_size == 32
    assert download(MODEL, home) == folder
    assert load_base(find_base(MODEL, home), LABELS, TEXTS, 0, home).has_head
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_a_copy_here_outlives_the_hubs_trouble(hub: Hub, copied: Path, tmp_path: Path, status: int) -> None:
    hub.models[MODEL] = copied
    folder = download(MODEL, tmp_path)
    hub.status = status
    assert download(MODEL, tmp_path) == folder


def test_half_a_download_is_not_taken_for_a_model(hub: Hub, copied: Path, tmp_path: Path) -> None:
    hub.models[MODEL] = copied
    look_up(MODEL, tmp_path)
    hub.status = 503
    assert look_up(MODEL, tmp_path).layers == 2
    assert "no whole copy is here" in refusal(lambda: download(MODEL, tmp_path))
    hub.status = None
    assert (download(MODEL, tmp_path) / "model.safetensors").is_file()


@pytest.mark.parametrize("fetch", [look_up, download])
def test_a_model_that_the_hub_does_not_know(hub: Hub, tmp_path: Path, fetch: Callable[[str, Path], object]) -> None:
    message = refusal(lambda: fetch("nobody/nothing", tmp_path))
    assert "'nobody/nothing'" in message
    assert "the hub does not know it, or it is private (set HF_TOKEN to your token)" in message


@pytest.mark.parametrize("fetch", [look_up, download])
def test_a_dead_hub_is_told_at_once(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetch: Callable[[str, Path], object]
) -> None:
    with running_hub() as other:
        gone = other.url
    monkeypatch.setenv("HF_ENDPOINT", gone)
    began = time.monotonic()
    message = refusal(lambda: fetch(MODEL, tmp_path))
    assert time.monotonic() - began < 3
    assert "the hub cannot be reached" in message
    assert "give a local folder" in message


@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "http://[::1", "ftp://127.0.0.1"])
def test_an_endpoint_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert "the hub cannot be reached" in refusal(lambda: look_up(MODEL, tmp_path))


def test_a_slash_behind_the_endpoint_does_no_harm(
    hub: Hub, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models[MODEL] = copied
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/ ")
    assert download(MODEL, tmp_path).is_dir()
    assert not [line for line in hub.requests if "//" in line]


def test_a_hub_in_trouble(hub: Hub, tmp_path: Path) -> None:
    hub.status = 503
    began = time.monotonic()
    assert "status 503" in refusal(lambda: look_up(MODEL, tmp_path))
    assert time.monotonic() - began < 3


def test_a_hub_that_says_nothing_is_not_waited_for(
    hub: Hub, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.models[MODEL] = copied
    look_up(MODEL, tmp_path)
    monkeypatch.setattr(bases, "_PATIENCE_S", 0.2)
    hub.delay_s = 1.0
    began = time.monotonic()
    assert "the hub cannot be reached" in refusal(lambda: look_up(MODEL, tmp_path / "empty"))
    assert look_up(MODEL, tmp_path).layers == 2
    assert time.monotonic() - began < 1


def test_a_malformed_id(hub: Hub, tmp_path: Path) -> None:
    assert find_base("owner/na..me", tmp_path).kind == "hub"
    assert "malformed" in refusal(lambda: look_up("owner/na..me", tmp_path))
    assert hub.requests == []


def test_models_on_the_hub_are_refused_before_a_run_is_made(hub: Hub, copied: Path, tmp_path: Path) -> None:
    hub.models[MODEL] = copied
    change(copied / "config.json", auto_map={"AutoModel": "modeling_evil.Evil"})
    assert "never run" in refusal(lambda: look_up(MODEL, tmp_path / "code"))
    change(copied / "config.json", auto_map=None, model_type="gpt2")
    assert "'gpt2'" in refusal(lambda: look_up(MODEL, tmp_path / "gpt2"))
    (copied / "config.json").write_text("{")
    assert "cannot be read" in refusal(lambda: look_up(MODEL, tmp_path / "torn"))
    (copied / "config.json").unlink()
    assert "config.json" in refusal(lambda: look_up(MODEL, tmp_path / "none"))
    (copied / "model.safetensors").rename(copied / "tf_model.h5")
    assert "no model.safetensors and no pytorch_model.bin" in refusal(lambda: look_up(MODEL, tmp_path / "tensorflow"))


def test_a_tokenizer_on_the_hub_that_asks_for_code_is_refused(hub: Hub, copied: Path, tmp_path: Path) -> None:
    hub.models[MODEL] = copied
    change(copied / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_evil.Evil", None]})
    assert "tokenization_evil.Evil" in refusal(lambda: download(MODEL, tmp_path))


def test_a_download_that_breaks_off_leaves_no_model(
    hub: Hub, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.models[MODEL] = copied
    hub.torn.add("model.safetensors")
    assert "cannot be fetched" in refusal(lambda: download(MODEL, tmp_path))
    hub.torn.clear()
    assert (download(MODEL, tmp_path) / "model.safetensors").read_bytes() == (copied / "model.safetensors").read_bytes()


def test_a_cache_that_cannot_be_written(hub: Hub, copied: Path, tmp_path: Path) -> None:
    hub.models[MODEL] = copied
    (tmp_path / "cache").write_text("a file where a folder should be")
    message = refusal(lambda: look_up(MODEL, tmp_path))
    assert "cannot be stored in the cache" in message
