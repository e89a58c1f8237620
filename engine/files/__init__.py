"""What is on the disk besides the database.

`engine.model` loads what `bases` finds, and `engine.checkpoints` saves a model; the database is in `engine.runs`.

    storage          files and folders that are either whole or not there
    bases            where a base model lives: found by name, downloaded safely
    pruned_format    checkpoints that a stock BERT cannot hold
"""
