"""Layer dropping: whole layers go before fine-tuning, the middle ones first.

Sajjad et al. 2020 ("On the Effect of Dropping Layers of Pre-trained Transformer Models", https://arxiv.org/abs/2004.03844,
section 3) drop top, alternating, middle ("symmetric") or bottom layers of a trained BERT and fine-tune what is left. They find
the lower layers the most critical, which is why of two layers equally near to the middle the upper goes first.
"""

from typing import TYPE_CHECKING

from engine.config import PruningConfig
from engine.shapes import kept_neurons

if TYPE_CHECKING:
    from engine.compaction import Kept


def layers_to_drop(config: PruningConfig, layers: int) -> int:
    """Return how many layers a config takes out of a model of so many; at least one always stays."""
    dropped = config.drop_layers
    if config.method == "layer-dropping":
        dropped = max(dropped, layers - kept_neurons(layers, config.final_density))
    return min(dropped, layers - 1)


def outer_layers(layers: int, dropped: int) -> tuple[int, ...]:
    """Return which layers stay, ascending, when those nearest to the middle go; of two equally near the upper goes first."""
    middle = (layers - 1) / 2
    order = sorted(range(layers), key=lambda number: (abs(number - middle), -number))
    return tuple(sorted(order[dropped:]))


def keep_outer_layers(everything: "Kept", dropped: int) -> "Kept":
    """Leave out the ``dropped`` layers nearest to the middle."""
    return tuple(everything[number] for number in outer_layers(len(everything), dropped))
