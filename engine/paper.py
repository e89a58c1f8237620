"""What the paper printed: Table I of "On Importance of Pruning and Distillation for Efficient Low Resource NLP" (Mirashi et al.).

The numbers stand here as printed, including one that does not follow from its neighbour: 59.06 % less time is a speed-up of
2.44, and the table prints 2.56. Nothing here was measured by this project. Nothing here imports torch.
"""

from dataclasses import dataclass

from engine.config import Method, RunConfig
from engine.shapes import MURIL, Shape

TITLE = "On Importance of Pruning and Distillation for Efficient Low Resource NLP"
CITATION = f"Mirashi et al., {TITLE}, Table I"
METHOD: Method = "block-movement"
"""The one method of the table: FFN neurons by block movement pruning."""
TOKENS = 128
"""Length at which the ceilings below are computed; the paper does not print its own."""


@dataclass(frozen=True)
class PaperRow:
    """One line of Table I; None where the table prints a dash."""

    level: float
    """Pruning level, 0 to 1: the share of FFN neurons removed."""
    distilled: bool
    parameters_m: int
    """Parameters in millions."""
    fewer_percent: float | None
    less_time_percent: float | None
    speedup: float | None
    accuracy: float
    """Per cent."""
    emissions_kg: float

    @property
    def recipe(self) -> str:
        """The name `RunConfig.recipe` gives to the same setting."""
        name = "Baseline" if self.level == 0 else f"{self.level * 100:g} %"
        return f"{name} + KD" if self.distilled else name

    @property
    def shape(self) -> Shape:
        """The shape its parameter column implies: MuRIL with a narrower FFN in every layer, heads untouched."""
        return MURIL.pruned(1.0 - self.level)

    @property
    def ceiling(self) -> float:
        """The most that this shape can gain over the dense one, by FLOPs, at `TOKENS` tokens."""
        return MURIL.speedup_ceiling(self.shape, TOKENS)


TABLE: tuple[PaperRow, ...] = (
    PaperRow(0.0, False, 238, None, None, None, 92.43, 0.006135),
    PaperRow(0.25, False, 223, 5.96, 30.11, 1.43, 92.29, 0.002735),
    PaperRow(0.50, False, 209, 12.0, 40.21, 1.67, 91.81, 0.002663),
    PaperRow(0.75, False, 195, 18.0, 55.6, 2.25, 90.11, 0.001335),
    PaperRow(0.25, True, 223, 5.96, 59.06, 2.56, 92.18, 0.003464),
    PaperRow(0.50, True, 209, 12.0, 56.98, 2.32, 91.49, 0.003301),
    PaperRow(0.75, True, 195, 18.0, 55.6, 2.25, 90.55, 0.003723),
)

SPEED_NOTE = (
    "The paper's speed-ups cannot come from structure alone. Removing 25, 50 and 75 % of the FFN neurons of this model takes away "
    "FLOPs for at most 1.19x, 1.48x and 1.95x at 128 tokens; the table prints 1.43x, 1.67x and 2.25x. Distillation does not "
    "change the architecture, so it cannot change its speed either, yet the printed speed-up of 25 % rises from 1.43x to 2.56x. "
    "Something else is mixed in: precision, padding or noise. Speed-ups measured here compare like with like "
    "and name their ceiling."
)


def find_row(level: float, distilled: bool) -> PaperRow | None:
    """Return the printed row of a setting, or None where the paper has none (such as 60 %, or a distilled baseline)."""
    for row in TABLE:
        if abs(row.level - level) < 1e-6 and row.distilled == distilled:
            return row
    return None


def table_settings() -> list[dict[str, dict[str, object]]]:
    """Return Table I as partial configs for `RunConfig.parse`, in its order; they say everything that makes the paper's method."""
    method: dict[str, object] = {"method": METHOD, "initial_density": 1.0, "drop_layers": 0, "vocabulary": "full"}
    return [
        {"pruning": method | {"final_density": 1.0 - row.level}, "distillation": {"enabled": row.distilled}}
        for row in TABLE
    ]


def row_of(config: RunConfig) -> PaperRow | None:
    """Return the printed row for a run's setting, whatever its base model and dataset.

    Other methods, dropped layers and a smaller vocabulary have none: they remove something else.
    """
    pruning = config.pruning
    if pruning.drop_layers or pruning.vocabulary != "full" or (pruning.level > 0 and pruning.method != METHOD):
        return None
    return find_row(pruning.level, config.distillation.enabled)
