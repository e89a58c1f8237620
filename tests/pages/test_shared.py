"""The helpers that pages share: words, uploads, topics; and what the router promises."""

import ast
import csv
import re
import tomllib
from pathlib import Path

import pytest

from engine import jobs
from engine.errors import JobError
from engine.home import REPOSITORY
from engine.inference import MAX_CHARACTERS
from engine.runs.run import STATES
from engine.store import RunStore
from engine.texts.reading import READERS
from pages.shared import topics, words
from pages.shared.classify import LIMIT_CHARACTERS
from pages.shared.uploads import KINDS, keep_upload
from tests.pages.conftest import Open, everything
from tests.pages.seed import config, seed_run


def test_topics_cover_the_labels_of_the_starter_corpus() -> None:
    with (REPOSITORY / "assets" / "corpus" / "corpus.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == set(topics.MARATHI)
    assert len(set(topics.MARATHI.values())) == 12
    assert not {row["text"] for row in rows} & set(topics.SAMPLES)  # a sample must not be one that was learned


def test_every_state_has_words_colour_and_icon() -> None:
    assert set(words.STATE_COLOURS) == set(words.STATE_ICONS) == set(STATES)
    assert len({words.state_words(state, None) for state in STATES}) == len(STATES)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (words.count(237_565_452), "237.6 M"),
        (words.count(999), "999"),
        (words.size(950_261_808), "950 MB"),
        (words.emissions(0.006135), "6.13 g CO₂e"),
        (words.emissions(2.58e-7), "258 µg CO₂e"),
        (words.emissions(0), "0 g CO₂e"),
        (words.energy(0.00144), "1.44 Wh"),
        (words.milliseconds(5.006), "5.01 ms"),
        (words.duration(42.4), "42 s"),
        (words.duration(185), "3 min 5 s"),
        (words.duration(7800), "2 h 10 min"),
        (words.duration(200_000), "2 d 7 h"),
        (words.accuracy(None), "not measured: random weights"),
        (words.accuracy(0.9243), "92.43 %"),
        (words.state_words("queued", 0), "Queued, next in turn"),
        (words.state_words("queued", 3), "Queued behind 3"),
    ],
)
def test_numbers_are_written_with_units(written: str, wanted: str) -> None:
    assert written == wanted


@pytest.mark.parametrize("text", ["[a](b)", "<b>x</b>", "$x$", ":red[x]", "`x`", "**x**", "# x", "a_b_c"])
def test_escaped_text_has_no_bare_markup(text: str) -> None:
    escaped = words.escape(text)
    assert escaped.replace("\\", "") == text
    assert all(escaped[place - 1] == "\\" for place, letter in enumerate(escaped) if letter in "[]()<>$:`*#_")


@pytest.mark.parametrize(
    "text", ["http://a.example", "see HTTPS://a.example/b", "www.a.example", "a.b@c.example", "[x](http://a.example)"]
)
def test_escaped_text_is_no_address_either(text: str) -> None:
    """The patterns are those of mdast-util-gfm-autolink-literal, which looks at the text behind the escapes."""
    read = words.escape(text).replace("\\", "")
    assert re.search(r"(https?://|www(?=\.))([-.\w]+)([^ \t\r\n]*)", read, re.IGNORECASE) is None
    assert re.search(r"([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)", read) is None
    assert read.replace("\u2060", "") == text


@pytest.mark.parametrize(
    "name",
    [
        *("../../etc/passwd.csv", "/etc/passwd.csv", "..", ".", "", "/", "C:\\x\\y.CSV", "\\\\host\\share\\y.csv"),
        *(
            "मजकूर.csv",
            "a b;c.csv",
            ".csv",
            "x" * 300 + ".csv",
            "x." + "y" * 5000,
            "a\0b.csv",
            "a\nb.csv",
            "\x1b[2J.csv",
        ),
        *(
            "․․/․․/x.csv",
            "..／..／x.csv",
            "..∕x.csv",
            "x\u202evsc.exe",
            "CON.csv",
            "nul",
            "-rf.csv",
            "~root.csv",
            "$(id).csv",
        ),
        *("%2e%2e%2fx.csv", "x.csv/..", "x.csv/", "\ud800.csv"),
    ],
)
def test_uploads_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    path = keep_upload(tmp_path, name, b"text,label\n")
    assert path.parent == tmp_path / "uploads"
    assert path.read_bytes() == b"text,label\n"
    assert len(path.name) < 80
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.[a-z0-9]+", path.name)
    assert keep_upload(tmp_path, name, b"text,label\n") == path
    assert keep_upload(tmp_path, name, b"other") != path


def test_an_upload_follows_no_link_out_of_its_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_bytes(b"not to be touched")
    kept = keep_upload(tmp_path / "home", "a.csv", b"text,label\n")
    kept.unlink()
    kept.symlink_to(outside)
    assert keep_upload(tmp_path / "home", "a.csv", b"text,label\n") == kept
    assert not kept.is_symlink()
    assert kept.read_bytes() == b"text,label\n"
    assert outside.read_bytes() == b"not to be touched"


@pytest.mark.parametrize("asked", ["../../outside", "/etc/passwd\0"])
@pytest.mark.parametrize(
    ("page", "parameter"),
    [("live", "run"), ("live", "replay"), ("prune", "clone"), ("prune", "clone_replay"), ("inside", "run")],
)
def test_an_address_leads_out_of_no_folder(
    studio: Open, home: Path, monkeypatch: pytest.MonkeyPatch, page: str, parameter: str, asked: str
) -> None:
    read: list[str] = []
    opened = Path.open

    def noted(self: Path, *arguments: object, **options: object) -> object:
        read.append(str(self))
        return opened(self, *arguments, **options)  # type: ignore[call-overload]

    (home.parent / "outside").mkdir(exist_ok=True)
    monkeypatch.setattr(Path, "open", noted)
    studio(page, **{parameter: asked})  # fails on any exception
    assert not [path for path in read if asked.strip("\0") in path or "outside" in path]


def test_the_server_listens_here_only_and_sends_nothing() -> None:
    settings = tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert settings["server"]["address"] == "127.0.0.1"
    assert settings["browser"]["gatherUsageStats"] is False
    assert settings["server"]["maxUploadSize"] == 200
    assert "http" not in settings["theme"]["font"]


PAGES = sorted([REPOSITORY / "app.py", *(REPOSITORY / "pages").rglob("*.py")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_hold_no_sql_torch_or_pandas(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.partition(".")[0] for name in found} & {"sqlite3", "torch", "pandas", "transformers", "datasets"}


HTML = {
    "app.py": {"STYLE"},
    "presenter.py": {"STYLE"},
    "language.py": {"DECLARED[language()]"},
    "outcome.py": {"shading.shaded(found.pieces, topic)", "shading.legend(found.pieces)"},
}
"""What may be shown as HTML, by file: constants of our own, and words that `shading` has escaped."""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_only_known_html_is_shown(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert "unsafe_allow_html" not in source
    assert "unsafe_allow_javascript" not in source or path.name == "language.py"
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    shown = {ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func).endswith(".html")}
    assert shown <= HTML.get(path.name, set())


def test_addresses_are_the_names_of_the_files() -> None:
    """A fresh server looks a deep link up among the files of ``pages/``; any other address opens a "not found" dialog."""
    assert "url_path=" not in (REPOSITORY / "app.py").read_text(encoding="utf-8")


def test_every_table_that_can_be_read_can_be_uploaded() -> None:
    assert {f".{kind}" for kind in KINDS} == set(READERS)


def test_the_page_and_the_classifier_cut_at_the_same_length() -> None:
    assert LIMIT_CHARACTERS == MAX_CHARACTERS


def test_runs_are_listed_though_their_states_cannot_be_written(
    studio: Open, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_run(store, config(), "done")

    def full(_: RunStore) -> None:
        raise JobError("The disk is full. Free some space.")

    monkeypatch.setattr(jobs, "reconcile", full)
    for page in ("prune", "live", "compare", "inside"):
        app = studio(page)
        assert "The disk is full" in everything(app), page
        assert "No run yet" not in everything(app), page


def test_runs_that_were_put_away_are_not_listed(studio: Open, store: RunStore) -> None:
    shown, away = seed_run(store, config(name="shown"), "done"), seed_run(store, config(name="away"), "done")
    store.archive(away.run_id)
    options = studio("live").selectbox[0].options
    assert [shown.run_id in option for option in options] == [True]
