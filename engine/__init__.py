"""The engine of Chhatni. One line holds the whole house; every file is one arrow or one stop of it:

    RunConfig -> jobs -> worker -> training -> events -> store -> charts -> pages

A page or the command line turns a person's wishes into a `RunConfig` (config.py). jobs.py starts one detached worker process
for it. training.py is a plain generator that takes the config and yields typed events (events.py); the worker writes them to
the store (store.py), and pages poll the store and draw (charts.py). Nothing flows backwards but a stop request.

From Start to the pruning mask: pages/prune.py, jobs.py, worker.py, training.py, loop/steps.py, loop/student.py, methods/masks.py.

    config errors events records home             what everything else speaks of; no torch
    shapes precision concealing                   sizes by arithmetic, what a device can do, no secret in what is written
    jobs worker standby store                     one process a run, a queue of them, one that stands ready, and one database
    data model                                    texts in, cut and cleaned; the base model that reads them
    training evaluation distillation emissions    the loop; accuracy, latency and FLOPs; the teacher; energy and CO2
    pruning compaction                            what goes, behind one interface; what is left, made really smaller
    checkpoints inference                         a model on the disk, whole or not at all; a model asked
    charts paper                                  what a run looks like; what the paper printed
    cli                                           the same without a screen
    starter starter_check corpus_checks           the base model that ships: trained, tested on real headlines, its corpus counted
    study                                         which method costs least accuracy, over several seeds
    replay                                        a finished run in one file, shown again where nothing trains

    runs/                                         runs as rows, devices as queues, failures in words
    files/                                        what is on the disk: whole files, bases, our own format
    texts/                                        from a file's bytes to clean texts and token ids
    before/                                       what can be said before a run starts
    loop/                                         the parts of the training loop; student puts the masks on
    methods/                                      the masks, and one pruning method a file
    measuring/                                    rivals timed in turns, an SVM, calibration, shading, power
    bench/                                        every claim of speed, measured in one run
    lab/                                          any shape beside the dense one, timed while a person waits
    inside/                                       what pruning did inside a run, step by step
    comparison/                                   finished runs side by side and beside the paper
    views/                                        sentences, drawings, and what a person takes along
    terminal/                                     what the command line says and shows
"""

import os

# Torch's threads spin while they wait for one another. On a machine whose cores a studio, a browser and a worker share, that
# makes a training step up to 15 times slower; waiting passively costs little. It counts only if it is set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# CUDA would count the fastest card first; the locks of the cards, and people who look at nvidia-smi, count as they are plugged in.
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
