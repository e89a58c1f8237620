"""What can be said before a run starts.

Prune shows it beside the form, the command line before it starts anything; none imports torch.

    preflight       what can be known to be wrong
    data_preview    what the run would learn from
    prediction      what the pruning will make of the model
    estimates       time and energy, judged by finished runs
    sweep_plan      one config a pruning rate
"""
