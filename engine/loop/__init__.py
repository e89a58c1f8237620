"""The parts of the training loop.

`engine.training` goes through them from first to last; `student` puts the masks of `engine.methods` on the model.

    preparation     everything before the first step: device, data, base, student
    steps           the state between two optimizer steps, and what happens in one
    student         the model that is trained, its masks, and what has gone so far
    optimization    AdamW's groups and rate, and the averages reported
    snapshots       pictures of the mask while it moves
    resuming        a run between two steps, taken apart and put together
    spending        what the run has used so far, noted beside its checkpoints
    finish          after the last step: test, save, sum up
"""
