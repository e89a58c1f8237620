"""What the command line says and shows.

`engine.cli` is the door, and reads the words; these answer.

    train_options    a run's settings as options
    run_commands     queue, rename, archive, delete
    reports          a progress bar, tables, and the same as JSON
    visible          texts of other people, with what would steer a terminal shown instead
"""
