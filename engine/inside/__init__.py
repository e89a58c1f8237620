"""What pruning did inside a run, step by step.

Events become frames, frames tables, and tables charts; all pure and without torch.

    frames    events as the frames of a replay
    tables    frames as tables
    charts    tables as charts
"""
