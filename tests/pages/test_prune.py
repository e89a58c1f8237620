"""Prune: the recipe, its preview, its complaints and its buttons."""

import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine import jobs
from engine.config import METHODS, PAPER_MODEL, Method, RunConfig
from engine.errors import CheckpointError, ConfigError, DataError, JobError
from engine.home import REPOSITORY
from engine.runs.run import Run
from engine.store import RunStore
from pages.shared.methods import meanings
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run

Started = list[RunConfig]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Record starts instead of making processes; data and model pass every check."""
    configs: Started = []

    def start(store: RunStore, made: RunConfig) -> Run:
        configs.append(made)
        return seed_run(store, made, "queued")

    monkeypatch.setattr(jobs, "start", start)
    check_with(monkeypatch, lambda config, home: None)
    return configs


def check_with(monkeypatch: pytest.MonkeyPatch, check: Callable[[RunConfig, Path], object]) -> None:
    fake = types.ModuleType("engine.before.preflight")
    fake.check = check  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "engine.before.preflight", fake)
    monkeypatch.setattr("engine.before.preflight", fake, raising=False)


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    return app.run()


def test_first_page_opens_without_torch_transformers_or_datasets(home: Path) -> None:
    script = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(REPOSITORY / 'app.py')!r}, default_timeout=60).run()\n"
        "assert not app.exception and app.title[0].value == 'Prune', app\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'codecarbon') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr[-2000:]


def test_the_defaults_are_those_of_a_run_config(studio: Open, started: Started) -> None:
    press(studio(), "Start")
    assert started == [RunConfig()]


def test_the_preview_follows_the_level(studio: Open) -> None:
    app = studio()
    app.selectbox(key="base").set_value(PAPER_MODEL).run()
    assert "Parameters 237.6 M as dense" in everything(app)
    app.button_group(key="level").set_value("75 %").run()
    words = everything(app)
    assert "Parameters 195.1 M -17.9 %" in words
    assert "Ceiling 1.95x 128 tokens" in words
    assert "90.11 %" in words  # the paper's row without distillation
    app.toggle(key="distillation.enabled").set_value(True).run()
    assert "90.55 %" in everything(app)


def test_a_custom_level_goes_up_to_95(studio: Open, started: Started) -> None:
    app = studio()
    app.button_group(key="level").set_value("Custom").run()
    assert app.slider(key="custom_level").max == 95
    app.slider(key="custom_level").set_value(95).run()
    assert "no row for this setting" in everything(app)
    press(app, "Start")
    assert started[0].pruning.final_density == 0.05


def test_start_runs_the_form_and_shows_the_run(studio: Open, started: Started) -> None:
    app = studio()
    app.button_group(key="level").set_value("50 %").run()
    app.toggle(key="distillation.enabled").set_value(True).run()
    app.number_input(key="training.epochs").set_value(3).run()
    app.number_input(key="training.learning_rate").set_value(0.0003).run()
    app.selectbox(key="emissions.country").set_value("NOR").run()
    app.text_input(key="name").set_value("माझी धाव").run()
    press(app, "Start")
    (made,) = started
    assert made.recipe == "50 % + KD"
    assert (made.training.epochs, made.training.learning_rate, made.emissions.country) == (3, 0.0003, "NOR")
    assert app.title[0].value == "Live"
    assert "माझी धाव" in everything(app)


def test_queueing_the_table_makes_its_seven_runs(studio: Open, started: Started) -> None:
    app = studio()
    app.number_input(key="training.seed").set_value(7).run()
    app.selectbox(key="pruning.method").set_value("hybrid").run()  # the table is of the paper's method all the same
    app.number_input(key="pruning.initial_density").set_value(0.5).run()
    app.button_group(key="level").set_value("75 %").run()
    press(app, "Queue the paper's table")
    wanted = ["Baseline", "25 %", "50 %", "75 %", "25 % + KD", "50 % + KD", "75 % + KD"]
    assert [each.recipe for each in started] == wanted
    assert {each.training.seed for each in started} == {7}
    assert app.title[0].value == "Live"


def test_a_sweep_queues_the_forms_method_at_every_rate_and_seed(studio: Open, started: Started) -> None:
    app = studio()
    app.selectbox(key="pruning.method").set_value("magnitude").run()
    app.number_input(key="training.seed").set_value(3).run()
    app.text_input(key="name").set_value("माझी").run()
    app.multiselect(key="sweep_rates").set_value([75, 0, 50]).run()
    app.number_input(key="sweep_seeds").set_value(2).run()
    assert "6 runs by Magnitude" in everything(app)
    press(app, "Queue 6 runs")
    assert [(each.training.seed, each.pruning.level) for each in started] == [
        (3, 0.0),
        (3, 0.5),
        (3, 0.75),
        (4, 0.0),
        (4, 0.5),
        (4, 0.75),
    ]
    assert {each.pruning.method for each in started} == {"magnitude"}
    assert started[1].name == "माझी, Magnitude 50 %, seed 3"
    assert app.title[0].value == "Live"


def test_a_sweep_without_rates_has_no_button_and_says_why(studio: Open, started: Started) -> None:
    app = studio()
    assert any(button.label == "Queue 10 runs" for button in app.button)
    app.multiselect(key="sweep_rates").set_value([]).run()
    assert "takes pruning rates of 0 to 95 %" in everything(app)
    assert not any(button.label.startswith("Queue 1") for button in app.button)
    assert started == []


def test_a_sweep_is_checked_like_any_run(studio: Open, started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(config: RunConfig, home: Path) -> object:
        raise DataError("There is no such file.")

    check_with(monkeypatch, check)
    app = press(studio(), "Queue 10 runs")
    assert "There is no such file" in everything(app).replace("\\", "")
    assert started == []


def test_impossible_values_are_said_and_nothing_starts(studio: Open, started: Started) -> None:
    app = studio()
    app.number_input(key="training.epochs").set_value(0).run()
    app.number_input(key="distillation.temperature").set_value(-1.0).run()
    words = everything(app).replace("\\", "")
    assert "Epochs is 0; it must be at least 1" in words
    assert "Temperature is -1; it must be above 0" in words
    assert all(button.disabled for button in app.button if button.label in ("Start", "Queue the paper's table"))
    assert app.expander[0].proto.expanded
    app.number_input(key="training.epochs").set_value(RunConfig().training.epochs).run()
    app.number_input(key="distillation.temperature").set_value(2.0).run()
    press(app, "Start")
    assert started == [RunConfig()]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DataError("There is no file [x](http://y)."), "There is no file [x](http://y)."),
        (CheckpointError("No such model."), "No such model."),
        (ConfigError({"training.precision": "Precision is fp16, which needs a GPU."}), "which needs a GPU"),
        (JobError("The disk is full."), "The disk is full."),
    ],
)
def test_a_refusal_is_shown_until_the_form_changes(
    studio: Open, started: Started, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def check(config: RunConfig, home: Path) -> object:
        raise error

    check_with(monkeypatch, check)
    app = press(studio(), "Start")
    assert words in everything(app).replace("\\", "").replace("\u2060", "")
    assert "[x](http" not in everything(app)  # a link in a message stays text
    assert not started
    app.number_input(key="training.seed").set_value(1).run()
    assert words not in everything(app).replace("\\", "")


def test_a_queue_that_breaks_says_how_far_it_came(
    studio: Open, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = jobs.start

    def start(store: RunStore, made: RunConfig) -> Run:
        if len(started) == 2:
            raise JobError("The disk is full.")
        return recorded(store, made)

    monkeypatch.setattr(jobs, "start", start)
    app = press(studio(), "Queue the paper's table")
    assert "2 of 7 runs were queued, then: The disk is full." in everything(app).replace("\\", "")


SHOWN = {
    "block-movement": {"mask_learning_rate", "schedule", "width_multiple"},
    "hybrid": {"attention_unit", "mask_learning_rate", "schedule", "width_multiple"},
    "soft-cutoff": {"regularization_lambda", "cut_off", "mask_learning_rate", "schedule", "width_multiple"},
    "magnitude": {"unit", "iterations", "schedule", "width_multiple"},
    "wanda": {"iterations", "schedule", "width_multiple"},
    "layer-dropping": set(),
}
"""What Advanced holds for each method, beside what several share."""


def pruning_fields(app: AppTest) -> set[str]:
    """Return the settings of pruning that have a widget now."""
    widgets = [*app.number_input, *app.selectbox]
    names = {each.key.partition(".")[2] for each in widgets if each.key and each.key.startswith("pruning.")}
    return names - {"method"}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_says_what_it_does_and_shows_only_what_it_uses(
    studio: Open, started: Started, method: Method
) -> None:
    app = studio()
    app.button_group(key="level").set_value("50 %").run()
    app.selectbox(key="pruning.method").set_value(method).run()
    assert meanings()[method] in everything(app)
    shared = set() if method == "layer-dropping" else {"initial_density", "warmup_share", "cooldown_share"}
    assert pruning_fields(app) == SHOWN[method] | shared | {"drop_layers"}
    press(app, "Start")
    assert started == [RunConfig.parse({"pruning": {"final_density": 0.5, "method": method}})]


FULL = {
    "schedule": "exponential",
    "initial_density": 0.9,
    "warmup_share": 0.2,
    "cooldown_share": 0.25,
    "mask_learning_rate": 0.02,
    "attention_unit": "block",
    "regularization_lambda": 2.5,
    "cut_off": 0.4,
    "unit": "weight",
    "iterations": 3,
    "drop_layers": 1,
    "vocabulary": "training",
    "width_multiple": 32,
}


@pytest.mark.parametrize("method", METHODS)
def test_a_clone_of_every_method_is_the_same_run(
    studio: Open, store: RunStore, started: Started, method: Method
) -> None:
    made = config(0.75, pruning={"method": method} | FULL)
    assert set(FULL) | {"final_density", "method"} == set(type(made.pruning).model_fields), "a setting is left out"
    run = seed_run(store, made, "failed")
    press(studio("prune", clone=run.run_id), "Start")
    assert started == [made]


def test_a_setting_keeps_its_value_while_its_method_is_not_chosen(studio: Open, started: Started) -> None:
    app = studio()
    app.selectbox(key="pruning.method").set_value("wanda").run()
    app.number_input(key="pruning.iterations").set_value(3).run()
    app.selectbox(key="pruning.method").set_value("hybrid").run()
    app.selectbox(key="pruning.attention_unit").set_value("block").run()
    assert "seldom is a whole head freed" in everything(app)
    app.selectbox(key="pruning.method").set_value("magnitude").run()
    assert app.number_input(key="pruning.iterations").value == 3
    app.selectbox(key="pruning.unit").set_value("weight").run()
    assert "neither smaller nor faster" in everything(app)
    assert "width_multiple" not in pruning_fields(app)
    app.toggle(key="small_vocabulary").set_value(True).run()
    press(app, "Start")
    pruning = started[0].pruning
    assert (pruning.iterations, pruning.attention_unit, pruning.unit) == (3, "block", "weight")
    assert pruning.vocabulary == "training"


def test_something_wrong_is_shown_even_where_the_method_does_not_use_it(studio: Open) -> None:
    app = studio()
    app.selectbox(key="pruning.method").set_value("wanda").run()
    app.number_input(key="pruning.iterations").set_value(0).run()
    app.selectbox(key="pruning.method").set_value("layer-dropping").run()
    assert "Pruning iterations is 0; it must be at least 1" in everything(app).replace("\\", "")
    assert pruning_fields(app) == {"iterations", "drop_layers"}
    app.number_input(key="pruning.iterations").set_value(1).run()
    assert pruning_fields(app) == {"drop_layers"}


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ({"pruning.method": "hybrid"}, ["Parameters 2.8 M", "Ceiling 2.00x"]),
        ({"pruning.method": "magnitude", "pruning.unit": "weight"}, ["Parameters 4.4 M as dense", "Ceiling 1.00x"]),
        ({"pruning.method": "soft-cutoff"}, ["Parameters ≈ 3.3 M", "Ceiling ≈ 1.44x", "its own width"]),
        ({"pruning.method": "layer-dropping"}, ["Parameters 2.8 M", "Ceiling 2.00x"]),
        ({"pruning.method": "wanda"}, ["Parameters 3.3 M", "Ceiling 1.44x"]),
    ],
)
def test_the_preview_follows_the_method(studio: Open, chosen: dict[str, str], wanted: list[str]) -> None:
    app = studio()
    app.selectbox(key="base").set_value("compact").run()
    app.button_group(key="level").set_value("50 %").run()
    assert "91.81 %" in everything(app)
    for key, value in chosen.items():
        app.selectbox(key=key).set_value(value).run()
    words = everything(app)
    assert all(each in words for each in wanted), words
    assert "no row for this setting" in words
    assert "91.81 %" not in words


def test_the_preview_follows_layers_widths_and_vocabulary(studio: Open) -> None:
    app = studio()
    app.selectbox(key="base").set_value("compact").run()
    app.number_input(key="pruning.drop_layers").set_value(2).run()
    assert "Ceiling 2.00x" in everything(app)
    app.toggle(key="small_vocabulary").set_value(True).run()
    assert "counted in full here" in everything(app)
    app.button_group(key="level").set_value("Custom").run()
    assert "multiple of 64: 62.5 %" in everything(app).replace("\\", "")
    app.number_input(key="pruning.width_multiple").set_value(1).run()
    assert "multiple of" not in everything(app)


def test_clone_fills_the_form_with_a_runs_settings(studio: Open, store: RunStore, started: Started) -> None:
    made = config(0.6, True, training={"epochs": 2, "max_steps": 9}, data={"source": "/data/a.csv"}, name="क")
    run = seed_run(store, made, "failed")
    app = studio("prune", clone=run.run_id)
    assert "clone" not in app.query_params
    press(app, "Start")
    assert started == [made]


@pytest.mark.parametrize(("base", "words"), [("compact", "random weights"), ("muril-shape", "random weights")])
def test_distilling_from_random_weights_is_explained(studio: Open, base: str, words: str) -> None:
    app = studio()
    app.selectbox(key="base").set_value(base).run()
    assert words not in everything(app)
    app.toggle(key="distillation.enabled").set_value(True).run()
    assert words in everything(app)


def test_an_estimate_needs_a_finished_run_like_this(studio: Open, store: RunStore) -> None:
    assert "The first one gives the estimate" in everything(studio())
    run = seed_run(store, config(0.5), "done")
    words = everything(studio())
    assert "1 min 35 s" in words
    assert run.run_id in words


def test_finished_runs_are_bases_and_unfinished_are_not(studio: Open, store: RunStore) -> None:
    done, failed = seed_run(store, config(0.5), "done"), seed_run(store, config(0.5), "failed")
    options = " ".join(studio().selectbox(key="base").options)
    assert done.run_id in options
    assert failed.run_id not in options


def test_a_hub_id_or_folder_of_ones_own_is_used(studio: Open, started: Started) -> None:
    app = studio()
    app.selectbox(key="base").set_value("own").run()
    app.text_input(key="own_base").set_value("owner/some-model").run()
    assert "known once it has been downloaded" in everything(app)
    press(app, "Start")
    assert started[0].model.base == "owner/some-model"


def test_precision_says_what_automatic_means_here(studio: Open) -> None:
    assert "On this machine:" in everything(studio())


def test_an_upload_becomes_the_dataset(studio: Open, started: Started, home: Path) -> None:
    app = studio()
    app.selectbox(key="dataset").set_value("own").run()
    assert "No file yet" in everything(app)
    app.file_uploader[0].set_value(("../मजकूर a.csv", "text,label\nअ,x\n".encode(), "text/csv")).run()
    assert "No file yet" not in everything(app)
    press(app, "Start")
    path = Path(started[0].data.source)
    assert path.parent == home / "uploads"
    assert path.read_text(encoding="utf-8") == "text,label\nअ,x\n"


def test_an_empty_model_of_ones_own_asks_for_one(studio: Open) -> None:
    app = studio()
    app.selectbox(key="base").set_value("own").run()
    assert "No model yet" in everything(app)
    app.text_input(key="own_base").set_value("not a model").run()
    assert "There is no base model 'not a model'" in everything(app).replace("\\", "")


def write_table(home: Path, counts: dict[str, int], name: str = "news.csv") -> Path:
    rows = [f"{label} पुण्यात बातमी क्रमांक {i},{label}" for label, count in counts.items() for i in range(count)]
    path = home / name
    path.write_text("\n".join(["headline,topic", *rows, rows[0], ",x"]) + "\n", encoding="utf-8")
    return path


def test_a_file_of_ones_own_is_shown_as_it_is_understood(studio: Open, home: Path) -> None:
    path = write_table(home, {"खेळ": 20, "शेती": 30})
    app = studio()
    assert app.toggle(key="look_at_data").value is False
    app.selectbox(key="dataset").set_value("own").run()
    app.text_input(key="own_data").set_value(str(path)).run()
    assert app.toggle(key="look_at_data").value is True
    said = everything(app).replace("\\", "")
    assert "Texts from column 'headline', labels from 'topic'" in said
    assert "40 train, 5 validation, 5 test" in said
    assert "tokens" in said
    labels, report = (frame.value for frame in app.dataframe)
    assert labels.to_dict("list") == {"Label": ["खेळ", "शेती"], "Texts": [20, 30]}
    assert (report["Duplicates"][0], report["Empty texts"][0], report["Kept"][0]) == (1, 1, 50)
    app.toggle(key="look_at_data").set_value(False).run()
    assert not app.dataframe
    write_table(home, {"खेळ": 10, "शेती": 30})
    app.toggle(key="look_at_data").set_value(True).run()
    assert app.dataframe[0].value["Texts"].tolist() == [10, 30], "a changed file is read again"


def test_too_long_texts_are_counted_before_a_run(studio: Open, home: Path) -> None:
    path = write_table(home, {"खेळ": 20, "शेती": 30})
    app = studio()
    app.selectbox(key="dataset").set_value("own").run()
    app.text_input(key="own_data").set_value(str(path)).run()
    app.number_input(key="data.max_length").set_value(8).run()
    # how many, depends on the tokenizer that ships
    counted = re.search(
        r"(\d+) of 40 \(.*\) are longer than the maximum length of 8 tokens", everything(app).replace("\\", "")
    )
    assert counted is not None
    assert int(counted[1]) > 0
    app.selectbox(key="base").set_value("compact").run()
    said = everything(app).replace("\\", "")
    assert "compact learns its tokenizer" in said
    assert "words" in said


def test_a_file_that_cannot_be_used_says_why_beside_the_preview(studio: Open, home: Path) -> None:
    path = home / "one.csv"
    path.write_text("text,label\nअ,x\n", encoding="utf-8")
    app = studio()
    app.selectbox(key="dataset").set_value("own").run()
    app.text_input(key="own_data").set_value(str(path)).run()
    assert len(app.error) == 1
    assert "one.csv" in app.error[0].value.replace("\\", "")


def test_a_worker_is_kept_ready_while_somebody_is_about_to_start(
    studio: Open, home: Path, store: RunStore, kept_ready: list[Path]
) -> None:
    app = studio()
    assert set(kept_ready) == {home}
    asked = len(kept_ready)
    app.switch_page("pages/compare.py").run()
    assert len(kept_ready) == asked, "elsewhere nobody is"
    seed_run(store, config(), "training")
    app.switch_page("pages/prune.py").run()
    assert len(kept_ready) == asked, "its imports would disturb the figures of the run"
