"""Every claim of speed, measured in one run.

It is the command `python -m engine bench`; `benchmark` holds the sections together.

    benchmark             all sections, and how they came about
    options               the command line's options
    settings              from those words to checked numbers
    models                the shapes compared, with random weights
    latency               structure, precision, padding, tokenization
    steps                 a training step with masks, nn_pruning's beside it
    run                   a whole pruning run beside dense fine-tuning
    throughput            tokens per second, share of the peak, energy
    tables                the result for a terminal
    peaks                 what a graphics card can do at most
    nn_pruning_modules    nn_pruning's own modules, to compare with
    vocabulary_demo       MuRIL with the vocabulary of one dataset
"""
