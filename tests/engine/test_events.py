"""Every event survives its way through JSON."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine import events
from engine.events import Event, Notice, StepLogged, from_json, to_json
from engine.records import Latency, Record

KINDS = get_args(Event)


def any_event(kind: type[Record]) -> st.SearchStrategy[Any]:
    """Hypothesis builds the parts from their annotations."""
    return st.builds(kind, kind=st.just(kind.model_fields["kind"].default))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_event_comes_back_as_it_was(kind: type[Record]) -> None:
    @settings(max_examples=15, deadline=None)
    @given(any_event(kind))
    def check(event: Any) -> None:
        text = to_json(event)
        assert "\n" not in text
        again = from_json(text)
        assert type(again) is kind
        assert to_json(again) == text
        assert again == event or "NaN" in text  # which is not even equal to itself
        json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))

    check()


def test_every_event_has_a_kind_of_its_own() -> None:
    kinds = [kind.model_fields["kind"].default for kind in KINDS]
    assert len(set(kinds)) == len(kinds) == 17
    written = {
        value
        for value in vars(events).values()
        if isinstance(value, type) and issubclass(value, Record) and "kind" in value.model_fields
    }
    assert written == set(KINDS), "an event that is not in the union could be written and never read"


@pytest.mark.parametrize(
    "text",
    ['{"kind": "rumour", "message": "x"}', '{"message": "x"}', "{}", "[]", "null", '{"kind": "notice"', ""],
)
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        from_json(text)


def test_unknown_and_missing_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="extra"):
        from_json('{"kind": "notice", "message": "x", "colour": "red"}')
    with pytest.raises(ValidationError, match="message"):
        from_json('{"kind": "notice"}')


def test_an_event_cannot_be_changed() -> None:
    notice = Notice(message="x")
    with pytest.raises(ValidationError, match="frozen"):
        notice.message = "y"


def test_devanagari_stays_readable() -> None:
    assert "छाटणी" in to_json(Notice(message="छाटणी"))


def test_numbers_beyond_json_come_back() -> None:
    latency = Latency(p50=float("inf"), p95=float("nan"), min=float("-inf"), batch_size=1, sequence_length=1)
    again = Latency.model_validate_json(latency.model_dump_json())
    assert (again.p50, again.min) == (latency.p50, latency.min)
    assert again.p95 != again.p95


def test_a_step_has_no_default_that_hides_a_number() -> None:
    optional = {name for name, field in StepLogged.model_fields.items() if not field.is_required()}
    assert optional == {"kind", "loss_scale", "skipped_steps"}
