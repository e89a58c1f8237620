"""Charts as pictures, events as tables, and runs as pages that need nothing but themselves."""

import csv
import io
import json
import re
import socket
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import pandas as pd
import pytest
import vl_convert
from PIL import Image

from engine.cli import main
from engine.comparison import frames as comparison
from engine.comparison import sweep
from engine.comparison.page import comparison_page
from engine.config import MAHANEWS
from engine.events import Event, Notice, RunStarted, StepLogged
from engine.home import REPOSITORY
from engine.runs.retelling import settled
from engine.runs.run import Run, StoredEvent
from engine.store import RunStore
from engine.views import pictures
from engine.views.export import events_frame, to_csv, to_json_lines
from engine.views.report_page import run_charts, run_page
from tests.pages.seed import config, seed_run

HOSTILE = "</svg><script>alert(1)</script> <img src=x onerror=alert(1)> माझी"
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def bars(*names: str) -> alt.Chart:
    data = pd.DataFrame({"name": names, "value": range(1, len(names) + 1)})
    chart: alt.Chart = alt.Chart(data).mark_bar().encode(x="value:Q", y=alt.Y("name:N", title=None))
    return chart


def dark_pixels(png: bytes, share: float = 0.2) -> int:
    """Count dark pixels in the left part of a picture, where the names of bars stand."""
    picture = Image.open(io.BytesIO(png)).convert("L")
    return sum(picture.crop((0, 0, int(share * picture.width), picture.height)).histogram()[:128])


def test_an_svg_holds_its_words_as_text_and_nothing_that_runs() -> None:
    drawing = pictures.to_svg(bars(HOSTILE, "b"), ink="currentColor", background=None)
    assert "<script" not in drawing
    assert "<img" not in drawing
    assert "माझी" in drawing
    assert 'fill="currentColor"' in drawing
    assert "http" not in drawing.replace("http://www.w3.org/", "")


def test_a_png_is_drawn_at_two_pixels_for_one() -> None:
    picture = Image.open(io.BytesIO(pictures.to_png(bars("a", "b"))))
    assert picture.format == "PNG"
    assert picture.width > 2 * pictures.WIDTH


@pytest.mark.skipif(not pictures.draws_devanagari(), reason="needs a Devanagari font")
def test_devanagari_is_shaped_in_a_png() -> None:
    text = pictures._Text("क्रीडा", 60.0, 20.0, 0.0, 12.0, "start", "#000000", 1.0)
    shaped, _ = pictures._written(text)
    font = pictures._font(pictures.DEVANAGARI_FONTS, 12.0 * pictures.SCALE)
    assert font is not None
    assert font.getlength("क्ष") < font.getlength("क") + font.getlength("ष"), "the conjunct is one sign"
    assert shaped.getbbox() is not None
    left_out, texts = pictures._take_devanagari(pictures.to_svg(bars("क्रीडा क्षेत्र", "b")))
    assert [item.words for item in texts] == ["क्रीडा क्षेत्र"]
    assert ">क्रीडा" not in left_out  # names for screen readers stay
    nameless = vl_convert.svg_to_png(left_out, scale=pictures.SCALE)
    assert dark_pixels(pictures.to_png(bars("क्रीडा क्षेत्र", "b"))) > dark_pixels(nameless) + 50


def test_without_a_devanagari_font_the_picture_is_drawn_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "DEVANAGARI_FONTS", ("no-such-font.ttf",))
    assert not pictures.draws_devanagari()
    assert Image.open(io.BytesIO(pictures.to_png(bars("क्रीडा")))).width > 100


def test_pictures_are_drawn_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a picture asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    archive = zipfile.ZipFile(io.BytesIO(pictures.zipped({"Loss (nats)": bars("a"), "Load": bars("b")}, "png")))
    assert archive.namelist() == ["01-loss-nats.png", "02-load.png"]
    assert archive.read("02-load.png").startswith(b"\x89PNG")


def test_rendering_is_not_imported_before_it_is_needed() -> None:
    program = (
        "import sys, engine.comparison.page, engine.views.report_page; "
        "print('vl_convert' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs.db")


def told(store: RunStore, run: Run) -> list[Event]:
    return [stored.event for stored in store.events(run.run_id)]


class Page(HTMLParser):
    """What a browser would find in a page: its tags, what they point to, its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def harmless(text: str) -> Page:
    page = Page(text)
    assert {"script", "iframe", "object", "embed", "link", "img", "form"}.isdisjoint(page.tags)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert page.handlers == []
    assert "default-src 'none'" in text
    assert not re.search(r"url\((?!#)", text)
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    return page


def test_a_run_is_one_page_that_says_what_how_and_when(store: RunStore) -> None:
    run = seed_run(store, config(0.5, True, name=HOSTILE), "done")
    page = harmless(run_page(run, told(store, run), NOON))
    assert (
        page.tags.count("figure")
        == len(run_charts(told(store, run), run.config.pruning))
        == page.tags.count("svg")
        == 6
    )
    for words in (
        HOSTILE,
        "A test CPU",
        "02 January 2026, 12:00",
        "CPU estimated",
        "84",
        "training.learning_rate",
        "The paper prints",
    ):
        assert words in page.words, words
    assert "CC BY-NC-SA" not in page.words
    assert "/home/runs/" not in page.words, "where the model lies is nobody else's affair"


def test_pages_name_versions_licence_and_only_the_names_of_files(store: RunStore) -> None:
    run = seed_run(
        store, config(0.5, data={"source": MAHANEWS[0]}, model={"base": "/home/someone/models/my-bert"}), "done"
    )
    events = told(store, run)
    began = next(event for event in events if isinstance(event, RunStarted))
    events[events.index(began)] = began.model_copy(update={"versions": {"torch": "9.8.7"}})
    page = harmless(run_page(run, events, NOON))
    assert "torch 9.8.7" in page.words
    assert "CC BY-NC-SA 4.0" in page.words
    assert "my-bert" in page.words
    assert "someone" not in page.words


@pytest.mark.parametrize("cut_off", [None, 0.2])
def test_a_fixed_cut_off_is_not_held_against_a_schedule(store: RunStore, cut_off: float | None) -> None:
    run = seed_run(store, config(0.5, pruning={"method": "soft-cutoff", "cut_off": cut_off}), "done")
    drawn = run_charts(told(store, run), run.config.pruning)
    titles = [title for title in drawn if title.startswith("Density")]
    assert titles == ["Density" if cut_off else "Density against its schedule"]
    assert ("Schedule" in drawn[titles[0]].to_json()) == (cut_off is None)


@pytest.mark.parametrize("state", ["queued", "training", "stopped", "failed"])
def test_a_run_in_any_state_has_a_page(store: RunStore, state: str) -> None:
    run = seed_run(store, config(0.5), state)  # type: ignore[arg-type]
    page = harmless(run_page(run, told(store, run), NOON))
    assert ("Diverged" in page.words) == (state == "failed")
    assert (page.tags.count("svg") == 0) == (state == "queued")


def test_steps_that_a_resumed_run_does_again_are_told_once(store: RunStore) -> None:
    run = seed_run(store, config(0.5), "stopped")
    events = told(store, run)
    began = next(event for event in events if isinstance(event, RunStarted))
    last = max(event.step for event in events if isinstance(event, StepLogged))
    again = [*events, began.model_copy(update={"resumed_at_step": last - 10})]
    assert max(event.step for event in settled(again) if isinstance(event, StepLogged)) == last - 10
    assert sum(isinstance(event, Notice) for event in settled(again)) == 1


def test_a_comparison_is_one_page_with_both_tables_and_all_charts(store: RunStore) -> None:
    for level in (0.0, 0.5, 0.75):
        seed_run(store, config(level, name=HOSTILE if level == 0.5 else ""), "done")
    runs = store.runs()
    curves = {
        "Validation accuracy (%)": {
            comparison.label_of(run): comparison.thin_curve(store.events(run.run_id, kinds=["evaluated"]))
            for run in runs
        }
    }
    began = {run.run_id: event for run in runs for event in told(store, run) if isinstance(event, RunStarted)}
    text = comparison_page(
        runs,
        runs,
        "starter",
        curves=curves,
        started=began,
        country="NOR",
        rates=sweep.rates(runs, "starter", "starter"),
        written=NOON,
    )
    page = harmless(text)
    assert page.tags.count("svg") == 9
    for words in (
        HOSTILE,
        "91.81",
        "Norway",
        "A test CPU",
        "cannot come from structure alone",
        "Accuracy against pruning rate",
    ):
        assert words in page.words, words
    assert page.words.count("pruning.method") == 1


def test_events_become_rows_and_lines() -> None:
    events = [StoredEvent(3, 0.5, Notice(message="=1+1")), StoredEvent(4, 1.0, Notice(message="छाटणी"))]
    rows = list(csv.DictReader(io.StringIO(to_csv(events_frame(events)).decode("utf-8-sig"))))
    assert rows[0] == {"seq": "3", "at": "1970-01-01T00:00:00.500+00:00", "kind": "notice", "message": "'=1+1"}
    lines = [json.loads(line) for line in to_json_lines(events).decode().splitlines()]
    assert [line["message"] for line in lines] == ["=1+1", "छाटणी"]
    assert list(events_frame([]).columns) == ["seq", "at", "kind"]


def test_nested_values_of_events_have_columns_of_their_own(store: RunStore) -> None:
    run = seed_run(store, config(0.5), "done")
    table = events_frame(store.events(run.run_id)).set_index("kind")
    assert table.loc["baseline_measured", "measurement.latency_ms.p50"] == 8.0
    assert json.loads(table.loc["run_finished", "result.data.labels"])[0] == "Auto"


def test_a_table_with_names_of_rows_and_groups_of_columns_keeps_both(store: RunStore) -> None:
    seed_run(store, config(0.5), "done")
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison.table_frame(store.runs())).decode("utf-8-sig"))))
    assert rows[2]["Setting"] == "50 %"
    assert float(rows[2]["Paper: Accuracy (%)"]) == 91.81
    assert float(rows[2]["Ours: Accuracy (%)"]) == pytest.approx(84.0)


def test_the_command_line_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHHATNI_HOME", str(tmp_path))
    run = seed_run(RunStore(tmp_path / "runs.db"), config(0.5, name="kept"), "done")
    target = tmp_path / "run.html"
    assert main(["show", run.run_id, "--html", str(target)]) == 0
    assert "kept" in harmless(target.read_text(encoding="utf-8")).words
    assert str(target) in capsys.readouterr().err
    assert main(["show", run.run_id, "--html", str(tmp_path / "no" / "run.html"), "--json"]) == 2
