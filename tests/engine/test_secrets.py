"""Tokens and passwords stay out of errors, events, logs, reports and files, wherever a library puts them."""

import io
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import requests

from engine import concealing, errors, jobs, worker
from engine.cli import main
from engine.concealing import Concealed, conceal
from engine.config import RunConfig
from engine.errors import CheckpointError, ChhatniError, ConfigError, DataError
from engine.events import Event, to_json
from engine.files.bases import look_up
from engine.lab import process as lab_process
from engine.lab.plan import LabSettings
from engine.runs.run import ENDED
from engine.store import RunStore
from engine.texts import mahanews
from engine.views.report_page import run_page
from tests.engine import tiny_runs
from tests.engine.fake_training import run_started, step_logged
from tests.engine.hub import Hub
from tests.engine.tiny_runs import tiny_config, write_base, write_texts

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"
OTHER_TOKEN = "kept-by-a-private-hub-0815"
PASSWORD = "गुपित-परवलीचा-शब्द"
PROXY = "http://asha:S3cretPr0xy@proxy.example:3128"
SECRETS = (TOKEN, OTHER_TOKEN, PASSWORD, "S3cretPr0xy", "S1gned")


def leaky(
    config: RunConfig, *, run_id: str, home: Path, should_stop: Callable[[], bool], resume: bool
) -> Iterator[Event]:
    """Train as a library would that tells everything it knows, then fail with an address."""
    print(f"password {os.environ.get('CHHATNI_PASSWORD', 'none')} token {os.environ['HF_TOKEN']}", flush=True)
    logging.warning("cannot reach %s with Authorization: Bearer %s", PROXY, os.environ["HF_TOKEN"])
    yield run_started()
    yield step_logged(1)
    try:
        raise requests.ConnectionError(f"Failed to reach {PROXY}/models?X-Amz-Signature=S1gned&x=1 ({OTHER_TOKEN})")
    except requests.ConnectionError as error:
        raise RuntimeError(f"{error}; token {os.environ['HF_TOKEN']}") from error


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let this process and its children know secrets from each place that holds one."""
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "login").write_text(OTHER_TOKEN + "\n")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "login"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("CHHATNI_PASSWORD", PASSWORD)


def assert_clean(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"via {PROXY}/a?b=c", "via http://***@proxy.example:3128/a?b=c"),
        ("https://me:p@ss:w@host/x", "https://***@host/x"),
        ("postgres://only-a-name@host", "postgres://***@host"),
        ("/home/a/http:/me:word@host/x", "/home/a/http:/***@host/x"),
        ("got hf_abcdefgh12345678.", "got hf_***."),
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer ***"),
        ("https://h/f?access_token=abc&page=2", "https://h/f?access_token=***&page=2"),
        ("https://h/f?X-Amz-Signature=ff00#top", "https://h/f?X-Amz-Signature=***#top"),
        ("{'Authorization': 'Basic abcdefgh'}", "{'Authorization': 'Basic ***'}"),
        ("proxy-authorization: bearer ab cd", "proxy-authorization: bearer *** cd"),
        ("sent Basic YXNoYTpnZWhlaW0=.", "sent Basic ***."),
        ("sent basic dXNlcjpwYXNz, got 401", "sent basic ***, got 401"),
        ("sent Basic Abcdefg1", "sent Basic ***"),
        ("sent bearer abc.defgh-1", "sent bearer ***"),
        ("sent Bearer abcdefghIjk", "sent Bearer ***"),
        (
            "https://h/f?key=a&x=1&api_key=b&apikey=c&keyId=d&KEY=e",
            "https://h/f?key=***&x=1&api_key=***&apikey=***&keyId=***&KEY=***",
        ),
        (
            "?X-Amz-Security-Token=a&AWSAccessKeyId=b&accessToken=c&client_secret=d&key2=e&dbpassword=f",
            "?X-Amz-Security-Token=***&AWSAccessKeyId=***&accessToken=***&client_secret=***&key2=***&dbpassword=***",
        ),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert conceal(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "मुंबईत आज जोरदार पाऊस https://example.org/a@b?page=2#c लिहा: asha@example.org",
        "The basic idea: basic block movement pruning, a bearer of news, hf_home, tokens=5",
        "/data/texts.csv, row 7: no label. Try --label-column; https://host:8080/x",
        "l3cube-pune/marathi-topic-all-doc-v2",
        "after basic training, /data/basic headlines.csv and /data/basic headlines2024.csv; Basic Training, bearer cheques",
        "the bearer umbrellas,https://h/?a=1 and basic elements=5",
        "https://h/f?monkey=2&keyword=a&keyboard=b&max_tokens=7&tokenizer=c&KEYWORD=d&secretary=e",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert conceal(text) == text


def test_secrets_of_this_process_are_hidden_wherever_they_stand(knowing: None) -> None:
    assert conceal(f"a{TOKEN}b {OTHER_TOKEN} {PASSWORD}") == "a***b *** ***"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy", "HF_ENDPOINT", "CHHATNI_MAHANEWS_URL"])
@pytest.mark.parametrize("password", ["S3cr/et", "S3cr#et", "S3cr?et", "S3cr%2fet", "p@S3cr/et"])
def test_passwords_that_break_an_address_apart_are_hidden(
    monkeypatch: pytest.MonkeyPatch, variable: str, password: str
) -> None:
    address = f"http://asha:{password}@proxy.example:3128"
    monkeypatch.setenv(variable, address)
    assert conceal(f"via {address}/x") == "via http://***@proxy.example:3128/x"
    for told in (password, unquote(password), quote(unquote(password), safe="")):
        assert conceal(f"a {told} b") == "a *** b"
    beginning = re.split("[/#?]", unquote(password))[0]
    assert conceal(f"Invalid port: '{beginning}'") == "Invalid port: ***", "as the client of the hub has it"
    assert beginning not in conceal(f"Failed to parse: 'asha:{beginning}' is not a valid host or port"), (
        "as requests does"
    )


def test_addresses_without_a_password_hide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example:8080/hub")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,mirror.example")
    monkeypatch.setenv("HTTP_PROXY", "http://ashakulkarni@proxy.example:3128")
    text = "https://mirror.example:8080/hub of ashakulkarni at proxy.example:3128, 127.0.0.1"
    assert conceal(text) == text


def test_a_short_secret_blanks_out_no_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "a")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    assert conceal("a banana") == "a banana"


def test_no_error_of_ours_holds_a_secret(knowing: None) -> None:
    said = f"{PROXY} {TOKEN}"
    families = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ChhatniError)]
    assert len(families) > 8
    for kind in families:
        error = kind({"model.base": said}) if issubclass(kind, ConfigError) else kind(said)
        assert_clean(f"{error} {error!r} {vars(error)}")
    assert_clean(str(DataError("gone", path=f"{PROXY}/x.csv").path))


def test_a_stream_is_concealed_and_stays_a_stream(knowing: None, tmp_path: Path) -> None:
    below = io.StringIO()
    stream = Concealed(below)
    assert stream.write(f"x {TOKEN}\n") == len(TOKEN) + 3
    print("to", PROXY, file=stream, flush=True)
    assert below.getvalue() == "x ***\nto http://***@proxy.example:3128\n"
    with (tmp_path / "f").open("w") as file:
        assert Concealed(file).fileno() == file.fileno()
        assert not Concealed(file).isatty()


def test_a_run_that_meets_secrets_keeps_none(
    knowing: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("CHHATNI_HOME", str(home))
    monkeypatch.setattr(jobs, "WORKER_COMMAND", (sys.executable, "-m", "tests.engine.test_secrets"))
    store = RunStore(home / "runs.db")
    run = jobs.start(store, RunConfig.parse({"training": {"device": "cpu"}}))
    deadline = time.monotonic() + 30
    while (ended := store.get(run.run_id)).state not in ENDED:
        assert time.monotonic() < deadline, jobs.log_tail(home, run.run_id, 50)
        time.sleep(0.05)
    assert ended.error is not None
    assert "Failed to reach http://***@proxy.example:3128/models?X-Amz-Signature=***&x=1" in ended.error.message
    log = jobs.log_path(home, run.run_id).read_text(encoding="utf-8")
    assert "password none token ***" in log, "the worker was told the studio's password"
    assert "Traceback" in log
    assert "cannot reach http://***@proxy.example:3128 with Authorization: Bearer ***" in log
    main(["show", run.run_id])
    main(["show", run.run_id, "--json"])
    main(["runs"])
    told = capsys.readouterr()
    assert_clean(told.out + told.err)
    assert_clean(run_page(ended, [stored.event for stored in store.events(run.run_id)]))
    store.close()
    for path in home.rglob("*"):
        if path.is_file():
            assert_clean(path.read_bytes().decode("utf-8", errors="replace"))


def test_a_whole_run_writes_no_secret(knowing: None, tmp_path: Path, fresh_accelerate: None) -> None:
    """Checkpoint, model, tokenizer and figures of a real run, stopped once and then brought to its end."""
    texts, base = write_texts(tmp_path / "texts.csv"), write_base(tmp_path / "base")
    settings, asked = tiny_config(texts, base, pruning={"final_density": 0.5}), iter(range(100))
    told = tiny_runs.run(settings, tmp_path / "home", should_stop=lambda: next(asked) >= 6)
    stopped = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert any("resume" in path.parts for path in stopped)
    for path in stopped:
        assert_clean(path.read_bytes().decode("utf-8", errors="replace"))
    told += tiny_runs.run(settings, tmp_path / "home", resume=True)
    ended = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert any(path.name == "config.json" for path in ended)
    for path in ended:
        assert_clean(path.read_bytes().decode("utf-8", errors="replace"))
    assert_clean(" ".join(to_json(event) for event in told))


def test_an_old_log_is_shown_without_secrets(knowing: None, tmp_path: Path) -> None:
    path = jobs.log_path(tmp_path, "a")
    path.parent.mkdir(parents=True)
    path.write_text(f"one\nvia {PROXY}\n")
    assert jobs.log_tail(tmp_path, "a", 5) == ["one", "via http://***@proxy.example:3128"]


def test_the_measuring_process_does_not_know_the_password(
    knowing: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os, sys; sys.exit(f'password {os.environ.get(\"CHHATNI_PASSWORD\", \"none\")} ' + os.environ['HF_TOKEN'])"
    monkeypatch.setattr(lab_process, "COMMAND", (sys.executable, "-c", code))
    settings = LabSettings.__new__(LabSettings)
    monkeypatch.setattr(LabSettings, "to_json", lambda self: "{}")
    with pytest.raises(ChhatniError, match=r"password none \*\*\*"):
        list(lab_process.measure_apart(settings, tmp_path, 1.0))


def test_a_mirror_with_a_password_is_named_without_it(
    knowing: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CHHATNI_MAHANEWS_URL", "http://asha:S3cretPr0xy@127.0.0.1:9/news")
    with pytest.raises(DataError, match=r"http://\*\*\*@127\.0\.0\.1:9/news/SHC/SHC_Train\.csv cannot be") as caught:
        mahanews.fetch("mahanews-shc", tmp_path)
    assert_clean(str(caught.value))


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_hub_that_refuses_is_told_of_without_the_token(
    hub: Hub, knowing: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    hub.status = status
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("http://", "http://asha:S3cretPr0xy@"))
    with pytest.raises(CheckpointError) as caught:
        look_up("owner/model", tmp_path)
    chain = f"{caught.value} {caught.value.__cause__}"
    assert_clean(chain)
    assert hub.requests, "it was asked"


def test_an_address_given_as_a_base_or_a_dataset_is_quoted_without_its_secret(
    knowing: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHHATNI_HOME", str(tmp_path))
    for option in ("--model", "--data"):
        assert main(["train", option, f"{PROXY}/thing", "--prune", "0.25"]) == 2
        told = capsys.readouterr()
        assert "***@proxy.example" in told.err, option
        assert_clean(told.out + told.err)
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_only_the_password_is_kept_from_workers(knowing: None) -> None:
    kept = concealing.for_workers()
    assert kept == {name: value for name, value in os.environ.items() if name != "CHHATNI_PASSWORD"}
    assert kept["HF_TOKEN"] == TOKEN


if __name__ == "__main__":
    sys.exit(worker.main(train=leaky))
