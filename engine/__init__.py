"""The engine of Chhatni. One line holds the whole house; every file is one arrow or one stop of it:

    RunConfig -> jobs -> worker -> training -> events -> store -> charts -> pages

A page or the command line turns a person's wishes into a `RunConfig` (config.py). jobs.py starts one detached worker process
for it. training.py is a plain generator that takes the config and yields typed events (events.py); the worker writes them to
the store (store.py), and pages poll the store and draw (charts.py). Nothing flows backwards but a stop request.

    config errors events shapes precision home     what everything else speaks of; no torch
    data: reading columns cleaning mahanews        texts in, splits and a cleaning report out
    bases model tokenization preparation           the base model and its head
    pruning compaction distillation                scores and masks -> a smaller stock BERT; the teacher
    training finish evaluation emissions           the loop, its end, and every number it reports
    checkpoints storage                            what is on the disk, whole or not at all
    runs database store jobs worker devices        runs as rows, processes and a queue
    inference benchmark preflight cli              what a person asks for directly
    charts paper                                   what a person is shown
"""
