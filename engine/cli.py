"""``python -m engine``: train, runs, queue, show, stop, resume, rename, archive, delete, classify, bench.

Exit codes: 0 done; 1 a run failed or was stopped; 2 wrong input, nothing was started; 130 Ctrl-C. With ``--json`` the
standard output holds one JSON value and nothing else; progress and messages go to the standard error.
"""

import argparse
import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engine
from engine.bench.options import add_bench_options
from engine.concealing import conceal
from engine.errors import ChhatniError, ConfigError
from engine.home import default_home
from engine.jobs import resume, start, stop
from engine.runs.run import Run
from engine.store import RunStore
from engine.terminal import reports
from engine.terminal.run_commands import add_run_commands, notice_dead
from engine.terminal.train_options import BASES, add_train_options, config_from, resolve_model
from engine.terminal.visible import visible


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a letter that the terminal does not know must not end a command
            stream.reconfigure(errors="backslashreplace")
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        return int(options.run(options, default_home()))
    except ChhatniError as error:
        print(visible(f"Error: {error}"), file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 1
    except OSError as error:
        what = visible(conceal(f"{error.filename or 'The system'}: {error.strerror or error}"))
        print(f"Error: {what}. Check that path, its permissions and the free space on its disk.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. A run that was started goes on: python -m engine runs", file=sys.stderr)
        return 130  # as a shell counts it


def build_parser() -> argparse.ArgumentParser:
    """Describe the whole command line."""
    parser = _Parser(
        prog="python -m engine", description=engine.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    train = _command(
        commands, "train", "Fine-tune, prune and distil a classifier; measures its own dense baseline.", _train
    )
    add_train_options(train)
    train.add_argument("--detach", action="store_true", help="start it, print its id and do not wait")
    listing = _command(commands, "runs", "List all runs, newest first.", _runs)
    listing.add_argument("--limit", type=_positive, metavar="N", help="only the N newest")
    listing.add_argument("--all", action="store_true", help="archived ones too")
    add_run_commands(lambda name, words, action: _command(commands, name, words, action), _print_json)
    for name, words, action in (
        ("show", "Show one run: state, settings, result or error.", _show),
        ("stop", "Ask a run to save itself and stop.", _stop),
        ("resume", "Go on with a stopped, interrupted or failed run.", _resume),
    ):
        command = _command(commands, name, words, action)
        command.add_argument("run_id", metavar="RUN", help="id, unique beginning of an id, or unique name")
        if name == "show":
            command.add_argument(
                "--html", type=Path, metavar="FILE", help="write the run as one page to keep or pass on"
            )
        if name == "stop":
            command.add_argument("--force", action="store_true", help="end its process if it does not stop by itself")
        if name == "resume":
            command.add_argument("--detach", action="store_true", help="do not wait for the end")
    classify = _command(commands, "classify", "Say the topic of texts.", _classify)
    classify.add_argument(
        "--model", default="starter", help="starter, a finished run, a folder or a hub id (default: %(default)s)"
    )
    classify.add_argument(
        "--file", type=Path, help="one text a line (.txt), or a CSV, TSV, JSONL, Parquet or Excel table"
    )
    classify.add_argument("--text-column", metavar="C", help="the table's text column (found if not given)")
    classify.add_argument("texts", nargs="*", metavar="TEXT")
    bench = _command(
        commands, "bench", "Measure speed: latency, training steps and runs, each beside the dense model.", _bench
    )
    add_bench_options(bench, BASES)
    return parser


class _Parser(argparse.ArgumentParser):
    """Shows what it does not understand without obeying it."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(visible(message), file)


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1; try 10")
    return number


def _command(commands: Any, name: str, words: str, action: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    parser.set_defaults(run=action)
    return parser


def _train(options: argparse.Namespace, home: Path) -> int:
    from engine.before.preflight import check

    store = RunStore(home / "runs.db")
    config = config_from(options, store)
    check(config, home)
    run = start(store, config)
    if options.detach:
        return _started(run, options.json)
    return _follow(store, run, options.json)


def _started(run: Run, as_json: bool) -> int:
    if as_json:
        _print_json({"run_id": run.run_id, "state": run.state})
    else:
        print(f"Started {run.run_id}. Watch it with: python -m engine show {run.run_id}")
    return 0


def _follow(store: RunStore, run: Run, as_json: bool) -> int:
    run = reports.follow(store, run)
    if as_json:
        _print_json(reports.outcome(run))
    else:
        reports.print_run(run)
    return 0 if run.state == "done" else 1


def _runs(options: argparse.Namespace, home: Path) -> int:
    store = RunStore(home / "runs.db")
    notice_dead(store)
    found = store.runs(limit=options.limit, archived=None if options.all else False)
    if options.json:
        _print_json([reports.summary(run) for run in found])
    else:
        reports.print_runs(found)
    return 0


def _show(options: argparse.Namespace, home: Path) -> int:
    store = RunStore(home / "runs.db")
    notice_dead(store)
    run = store.find(options.run_id)
    if options.html is not None:
        from engine.views.report_page import run_page

        told = [stored.event for stored in store.events(run.run_id)]
        options.html.write_text(run_page(run, told), encoding="utf-8")
        print(f"Wrote {options.html}", file=sys.stderr)
        if not options.json:
            return 0
    if options.json:
        _print_json(reports.outcome(run) | {"config": run.config.model_dump(mode="json")})
    else:
        events = store.events(run.run_id, kinds=("model_loaded", "compacted"))
        reports.print_run(run, [stored.event for stored in events])
    return 0


def _stop(options: argparse.Namespace, home: Path) -> int:
    store = RunStore(home / "runs.db")
    run = stop(store, store.find(options.run_id).run_id, force=options.force)
    if options.json:
        _print_json(reports.summary(run))
    else:
        print(
            f"{run.run_id} is {run.state}; it saves itself and stops at the next step."
            if run.state != "stopped"
            else f"{run.run_id} is stopped."
        )
    return 0


def _resume(options: argparse.Namespace, home: Path) -> int:
    store = RunStore(home / "runs.db")
    run = resume(store, store.find(options.run_id).run_id)
    return _started(run, options.json) if options.detach else _follow(store, run, options.json)


def _classify(options: argparse.Namespace, home: Path) -> int:
    from engine.data import read_texts
    from engine.texts.cleaning import normalise

    for number, text in enumerate(options.texts, start=1):
        if not normalise(text):
            raise ConfigError(
                {"texts": f"Text {number} is empty. Write something between its quotes, or leave it out."}
            )
    texts = list(options.texts)
    if options.file is not None:
        found = read_texts(options.file, options.text_column)
        texts += found.texts
        for note in found.notes:
            print(visible(note), file=sys.stderr)
    if not texts:
        raise ConfigError(
            {"texts": "No text is given. Write it behind the command in quotes, or name a file with --file."}
        )
    from engine.inference import load_classifier

    source = resolve_model(options.model, RunStore(home / "runs.db"))
    predictions = load_classifier(source, home).classify(texts)
    if options.json:
        _print_json([prediction._asdict() for prediction in predictions])
    else:
        reports.print_predictions(predictions)
    return 0


def _bench(options: argparse.Namespace, home: Path) -> int:
    from engine.bench.settings import BenchSettings
    from engine.bench.tables import print_bench
    from engine.files.storage import replace_file

    store = RunStore(home / "runs.db")
    settings = BenchSettings.parse(vars(options) | {"model": resolve_model(options.model, store)})
    output = None if options.output is None else Path(options.output)
    if output is not None and output.is_dir():
        raise ConfigError({"output": f"{output} is a folder. Name a file in it for the output."})
    from engine.bench.benchmark import run_bench

    result = run_bench(settings, home, lambda words: print(f"Measuring {words}", file=sys.stderr))
    if options.json:
        _print_json(result)
    else:
        print_bench(result)
    if output is not None:  # last, so that what was measured is seen even if it cannot be kept
        text = json.dumps(result, indent=2, ensure_ascii=False)
        replace_file(output, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    return 0


def _print_json(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, or a terminal without Devanagari
        text = json.dumps(value, indent=2)
    print(re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text))  # the rest json escapes by itself
