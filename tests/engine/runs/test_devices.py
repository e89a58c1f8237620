import pynvml  # type: ignore[import-untyped]
import pytest

from engine.runs import devices


@pytest.mark.parametrize(
    ("device", "name"), [("cpu", "cpu"), ("cuda", "cuda-0"), ("cuda:0", "cuda-0"), ("cuda:1", "cuda-1")]
)
def test_a_device_has_one_lock_name(device: str, name: str) -> None:
    assert devices.lock_name(device) == name


@pytest.mark.parametrize(
    ("gpus", "visible", "name"),
    [(1, None, "cuda-0"), (2, "1", "cuda-1"), (0, None, "cpu"), (1, "", "cpu"), (1, "-1", "cpu"), (None, None, "cpu")],
)
def test_auto_means_the_gpu_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, gpus: int | None, visible: str | None, name: str
) -> None:
    def start() -> None:
        if gpus is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", start)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: gpus)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.lock_name("auto") == name


@pytest.mark.parametrize(("visible", "count"), [(None, 4), ("0,2", 2), ("", 0), ("-1", 0), ("0,1,2,3,4,5", 4)])
def test_gpus_are_counted_as_torch_will_see_them(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 4)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.gpu_count() == count
