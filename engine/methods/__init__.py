"""What goes: the masks, and one pruning method a file.

Each method stands behind the interface of `engine.pruning`, whose `make_pruner` picks it; `dropping` and `vocabulary` go with any.

    masks          masks on FFN neurons that learn who matters
    movement       block movement pruning, the paper's method
    hybrid         the same for attention heads or blocks as well
    soft_cutoff    one cut-off for the whole model
    magnitude      the smallest neurons or weights first
    wanda          by weights and activations
    dropping       whole layers, the middle ones first
    vocabulary     only the tokens that the texts use
"""
