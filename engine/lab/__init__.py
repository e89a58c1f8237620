"""The speed lab: any shape beside the dense one, timed while a person waits.

The page asks `process`; models, clock and protocol are those of `engine.bench`.

    plan       two shapes, how they are to be timed, and what came of it
    memory     whether both fit
    process    a process of its own, one at a time
    worker     what runs in it
    charts     the results as tables and a chart
"""
