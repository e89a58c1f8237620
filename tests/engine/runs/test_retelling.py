"""What a resumed run tells twice."""

import pytest

from engine.events import Compacted, Event, MaskMoved, Notice, StepLogged
from engine.runs.retelling import settled
from tests.engine.fake_training import run_started, step_logged

FIRST = run_started()


def compacted(step: int | None) -> Compacted:
    return Compacted(
        step=step, kept_layers=(0,), intermediate_sizes=(8,), heads_removed=0, stock=True, max_logit_difference=0.0
    )


def pictured(step: int) -> MaskMoved:
    return MaskMoved(step=step, density=0.5, layers=())


STORY: list[Event] = [
    FIRST,
    Notice(message="heard"),
    compacted(0),
    pictured(4),
    step_logged(4),
    pictured(5),
    compacted(5),
    step_logged(5),
    compacted(None),
]


@pytest.mark.parametrize(
    ("resumed_at", "kept"),
    [
        (6, STORY[:-1]),
        (5, [*STORY[:5], step_logged(5)]),  # the mask before step 6 is about to be chosen again
        (4, [*STORY[:3], step_logged(4)]),
        (0, STORY[:3]),  # what went before the first step is not said again
        (None, STORY[:2]),
    ],
)
def test_what_lies_behind_the_saved_step_is_dropped(resumed_at: int | None, kept: list[Event]) -> None:
    again = run_started(resumed_at)
    assert settled([*STORY, again, Notice(message="new")]) == [*kept, again, Notice(message="new")]


def test_each_resume_undoes_what_was_told_before_it() -> None:
    told = settled([*STORY, run_started(4), step_logged(5), step_logged(6), run_started(5), step_logged(6)])
    assert [event.step for event in told if isinstance(event, StepLogged)] == [4, 5, 6]
