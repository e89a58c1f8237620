"""The arithmetic of the speed lab: shapes, plans, limits and what is made of results."""

from dataclasses import replace

import pytest

from engine.config import RunConfig
from engine.errors import ConfigError
from engine.lab import charts as lab_charts
from engine.lab import memory as lab_memory
from engine.lab import plan as lab
from engine.lab.plan import LabResult, LabSettings, Sizes, make_dense, make_other, sizes_of
from engine.records import Latency
from engine.runs import devices
from engine.shapes import MURIL, Shape
from engine.store import RunStore
from tests.pages.seed import seed_run

BERT = replace(MURIL, vocabulary=4000)
HALF = make_other(BERT, Sizes(12, 12, 1536, 768, 4000))


def result(
    other: Shape = HALF,
    speedup: float = 1.4,
    precision: str = "fp32",
    dense_ms: float = 200.0,
    **changes: object,
) -> LabResult:
    settings = LabSettings(BERT, other, precision=precision, **changes)  # type: ignore[arg-type]
    dense, mine = (
        Latency(p50=each, p95=1.2 * each, min=0.9 * each, batch_size=1, sequence_length=128)
        for each in (dense_ms, dense_ms / speedup)
    )
    return LabResult(settings, precision, "A test CPU", 10, dense, mine)


# Shapes


def test_the_other_shapes_heads_are_as_large_as_the_dense_ones() -> None:
    fewer = make_other(BERT, Sizes(12, 6, 768, 768, 4000))
    assert (fewer.heads, fewer.values_per_head, fewer.attention_size) == (6, 64, 384)
    assert BERT.speedup_ceiling(fewer, 128) == pytest.approx(2.96, abs=0.01)
    narrow = make_other(BERT, Sizes(12, 8, 3072, 512, 4000))
    assert (narrow.head_size, narrow.values_per_head, narrow.labels) == (None, 64, BERT.labels)
    assert make_other(BERT, sizes_of(BERT)) == BERT


@pytest.mark.parametrize(
    ("sizes", "field", "words"),
    [
        (Sizes(12, 4, 3072, 300, 4000), "hidden", "a multiple of 64. Try 320"),
        (Sizes(12, 13, 3072, 768, 4000), "heads", "at most 12 of 64 values. Try 12"),
        (Sizes(12, 6, 3072, 320, 4000), "heads", "at most 5 of 64 values. Try 5"),
    ],
)
def test_shapes_that_heads_do_not_fit_are_refused(sizes: Sizes, field: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_other(BERT, sizes)
    assert words in caught.value.fields[field]


def test_a_dense_shape_shares_its_hidden_size_among_its_heads() -> None:
    assert make_dense(Sizes(2, 3, 100, 96, 500)).values_per_head == 32
    with pytest.raises(ConfigError) as caught:
        make_dense(Sizes(2, 3, 100, 100, 500))
    assert "3 heads cannot share evenly. Try 99." in caught.value.fields["dense_hidden"]


@pytest.mark.parametrize("name", lab.PRESETS)
def test_every_preset_and_shortcut_is_possible_and_within_the_limits(name: str) -> None:
    dense = lab.dense_preset(name)
    for shortcut, sizes in lab.shortcuts(dense).items():
        other = make_other(dense, sizes)
        assert (dense.speedup_ceiling(other, 128) > 1) == (shortcut != "as_dense")
        assert all(lab.LIMITS[field][0] <= getattr(sizes, field) <= lab.LIMITS[field][1] for field in Sizes._fields)
    assert lab.shortcuts(dense)["half_layers"].layers == (dense.layers + 1) // 2


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "as dense"),
        ({"layers": 6}, "6 layers"),
        ({"layers": 1, "heads": 1}, "1 layer, 1 head"),
        ({"intermediate_size": 1536, "vocabulary": 10_000}, "FFN 1,536, 10,000 tokens"),
        ({"hidden_size": 512, "heads": 8}, "8 heads, hidden 512"),
    ],
)
def test_a_shape_is_named_by_what_sets_it_apart(changes: dict[str, int], name: str) -> None:
    assert lab.difference(BERT, make_other(BERT, sizes_of(BERT)._replace(**changes))) == name


def test_settings_survive_the_way_to_another_process() -> None:
    settings = LabSettings(BERT, make_other(BERT, Sizes(6, 6, 100, 768, 300)), 8, 64, "bf16", "cpu", 2, True)
    assert LabSettings.from_json(settings.to_json()) == settings


def test_fp32_is_timed_beside_another_precision_only() -> None:
    assert LabSettings(BERT, HALF, precision="bf16", with_fp32=True).precisions == ("bf16", "fp32")
    assert LabSettings(BERT, HALF, precision="bf16").precisions == ("bf16",)
    assert LabSettings(BERT, HALF, with_fp32=True).precisions == ("fp32",)


# Plans and limits


def test_as_many_rounds_as_fit_into_the_budget() -> None:
    assert lab.plan_rounds(0.5) == lab.BUDGET_S / 0.5 - lab.WARM_UP_ROUNDS
    assert lab.plan_rounds(100.0) == lab.MIN_ROUNDS
    assert lab.plan_rounds(0.0) == lab.MAX_ROUNDS


def test_time_is_reckoned_from_what_was_measured_here() -> None:
    settings = LabSettings(BERT, HALF, batch_size=4)
    guess = lab.expected_s(settings)
    fast = [result(dense_ms=20.0)]
    assert lab.expected_s(settings, fast) < guess
    rate = fast[0].settings.flops() / ((20 + 20 / 1.4) / 1000)
    assert lab.flop_rate(settings, "fp32", fast) == pytest.approx(rate)
    elsewhere = [result(dense_ms=20.0, threads=2), result(dense_ms=20.0, precision="bf16")]
    assert lab.expected_s(settings, elsewhere) == guess


def test_a_small_shapes_rate_does_not_slow_the_estimate_of_a_large_one() -> None:
    tiny = make_dense(Sizes(1, 2, 8, 16, 100))
    slow = replace(result(), settings=LabSettings(tiny, tiny))
    assert lab.expected_s(LabSettings(BERT, HALF), [slow]) == lab.expected_s(LabSettings(BERT, HALF))
    again = LabSettings(tiny, tiny)
    assert lab.flop_rate(again, "fp32", [slow]) < lab.flop_rate(again, "fp32", [])


def test_bf16_without_instructions_is_expected_to_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LabSettings(BERT, HALF, precision="bf16")
    monkeypatch.setattr(lab, "native_bf16", lambda: "AMX")
    native = lab.expected_s(settings)
    monkeypatch.setattr(lab, "native_bf16", lambda: None)
    assert lab.expected_s(settings) > native


def test_what_would_take_too_long_is_refused() -> None:
    lab.check_time(LabSettings(BERT, HALF))
    with pytest.raises(ConfigError) as caught:
        lab.check_time(LabSettings(BERT, HALF, batch_size=64, sequence_length=512))
    assert "minutes here (estimated); the lab ends a measurement after 5." in caught.value.fields["batch"]


def test_fp16_needs_a_gpu() -> None:
    lab.check_precision(LabSettings(BERT, HALF, precision="fp16", device="cuda:0"))
    lab.check_precision(LabSettings(BERT, HALF, precision="bf16"))
    with pytest.raises(ConfigError, match="needs a GPU"):
        lab.check_precision(LabSettings(BERT, HALF, precision="fp16"))


def test_memory_grows_with_what_needs_it() -> None:
    plain = LabSettings(BERT, HALF)
    machine, gpu = lab_memory.needed_bytes(plain)
    assert gpu == 0
    assert machine > lab_memory.LIBRARIES_BYTES + 4 * (BERT.parameters + HALF.parameters)
    larger = (
        replace(plain, other=replace(HALF, vocabulary=100_000)),
        replace(plain, batch_size=8),
        replace(plain, sequence_length=512),
        replace(plain, precision="bf16"),
    )
    assert all(lab_memory.needed_bytes(each)[0] > machine for each in larger)
    few = replace(plain, other=make_other(BERT, Sizes(12, 1, 1536, 768, 4000)))
    assert lab_memory.needed_bytes(few)[0] == pytest.approx(machine, rel=0.01), "it is made whole before heads go"
    assert lab_memory.needed_bytes(replace(plain, device="cuda:0"))[1] > lab_memory.CONTEXT_BYTES


def test_what_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LabSettings(BERT, HALF)
    needed, _ = lab_memory.needed_bytes(settings)
    monkeypatch.setattr(lab_memory, "free_bytes", lambda: needed)
    lab_memory.check_memory(settings)
    monkeypatch.setattr(lab_memory, "free_bytes", lambda: needed - 1)
    with pytest.raises(ConfigError) as caught:
        lab_memory.check_memory(settings)
    assert "1.4 GB of memory (estimated), and 1.4 GB are free" in caught.value.fields["memory"]


def test_gpu_memory_counts_where_the_driver_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LabSettings(BERT, HALF, device="cuda:0")
    monkeypatch.setattr(lab_memory, "free_bytes", lambda: 10**12)
    monkeypatch.setattr(lab_memory, "free_gpu_bytes", lambda device: None)
    lab_memory.check_memory(settings)
    monkeypatch.setattr(lab_memory, "free_gpu_bytes", lambda device: 10**9)
    with pytest.raises(ConfigError, match="GB of GPU memory"):
        lab_memory.check_memory(settings)


@pytest.mark.parametrize(("limit", "expected"), [("max\n", 900), ("700\n", 400), ("100\n", 0), (None, 900)])
def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path, limit: str | None, expected: int) -> None:
    class Memory:
        available = 900

    monkeypatch.setattr(lab_memory.psutil, "virtual_memory", Memory)
    monkeypatch.setattr(lab_memory, "_CGROUP", tmp_path)
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text("300\n")
    assert lab_memory.free_bytes() == expected


def test_runs_that_compute_on_the_device_are_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_count", lambda: 1)
    store = RunStore(tmp_path / "runs.db")
    training = seed_run(store, RunConfig(), "training", total=2)
    for state in ("queued", "done", "failed"):
        seed_run(store, RunConfig(), state, total=2)  # type: ignore[arg-type]
    assert [run.run_id for run in lab.busy_runs(store.runs(), "cpu")] == [training.run_id]
    assert lab.busy_runs(store.runs(), "cuda:0") == []


# What came of it


def test_a_row_holds_both_sides_and_the_share_of_the_ceiling() -> None:
    table = lab_charts.results_frame([result(), result(make_other(BERT, Sizes(6, 12, 3072, 768, 4000)), 1.9)])
    assert table["Shape"].tolist() == ["6 layers", "FFN 1,536"], "the newest first"
    row = table.iloc[1]
    assert row["Speed-up (x)"] == pytest.approx(1.4)
    assert row["Ceiling (x)"] == pytest.approx(1.48, abs=0.005)
    assert row["Share of ceiling (%)"] == pytest.approx(100 * 1.4 / 1.48, abs=0.3)
    assert (row["Dense p50 (ms)"], row["Dense p95 (ms)"], row["Dense min (ms)"]) == (200.0, 240.0, 180.0)
    assert (row["p50 (ms)"], row["Device"], row["Rounds"]) == (pytest.approx(200 / 1.4), "cpu: A test CPU", 10)


def test_points_stand_against_their_ceiling_and_only_the_newest_of_a_name_is_labelled() -> None:
    points = lab_charts.gain_frame([result(), result(speedup=1.3), result(precision="bf16", speedup=1.2)])
    assert points["label"].tolist() == ["FFN 1,536", "", ""]
    assert points["precision"].tolist() == ["bf16", "fp32", "fp32"]
    assert points["speedup"].tolist() == [pytest.approx(value) for value in (1.2, 1.3, 1.4)]
    assert points["share"].iloc[0] == pytest.approx(100 * 1.2 / points["ceiling"].iloc[0])


def test_passes_that_vary_much_tell_of_a_busy_machine() -> None:
    quiet = result()
    assert not quiet.unsteady
    for side in ("dense", "other"):
        timed = getattr(quiet, side)
        busy = timed.model_copy(update={"p95": 1.6 * timed.p50})
        assert replace(quiet, **{side: busy}).unsteady


def test_both_axes_reach_over_the_same_range() -> None:
    rule = lab_charts.diagonal_frame(lab_charts.gain_frame([result(speedup=0.5), result(speedup=3.5)]))
    assert rule["ceiling"].tolist() == rule["speedup"].tolist()
    assert rule["speedup"].min() < 0.5
    assert rule["speedup"].max() > 3.5


def test_the_chart_is_the_same_but_for_its_data() -> None:
    def spec(results: list[LabResult]) -> dict[str, object]:
        made = lab_charts.gain_chart(lab_charts.gain_frame(results)).to_dict()
        return {key: value for key, value in _without_data(made).items() if key != "datasets"}

    assert spec([result()]) == spec([result(), result(precision="bf16", speedup=3.0)])


def _without_data(made: dict[str, object]) -> dict[str, object]:
    layers = made["layer"]
    assert isinstance(layers, list)
    return {**made, "layer": [{key: value for key, value in layer.items() if key != "data"} for layer in layers]}
