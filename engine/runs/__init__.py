"""Runs as rows, devices as queues, failures in words.

`engine.store`, `engine.jobs` and `engine.worker` stand on these; none imports torch.

    run             a run's states and how they follow one another; its row and the tables
    rows            rows read and changed on a connection
    database        one SQLite file that many processes share
    event_writer    events on their way from training to the store
    devices         which device a run waits for
    processes       whether a process still lives
    device_locks    the turn on a device, which all homes of a machine share
    failures        an exception as words and a next step
    upkeep          the list kept in order, and what goes with a deleted run
    retelling       what a resumed run says twice, told once
"""
