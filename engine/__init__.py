"""The engine of Chhatni. One line holds the whole house; every file is one arrow or one stop of it:

    RunConfig -> jobs -> worker -> training -> events -> store -> charts -> pages

A page or the command line turns a person's wishes into a `RunConfig` (config.py). jobs.py starts one detached worker process
for it. training.py is a plain generator that takes the config and yields typed events (events.py); the worker writes them to
the store (store.py), and pages poll the store and draw (charts.py). Nothing flows backwards but a stop request.

    config errors events records shapes            what everything else speaks of; no torch
        precision home dotted retelling concealing
    data: reading arrow columns cleaning           texts in, splits and a cleaning report out
        splitting mahanews encodings spreadsheets
        devanagari
    bases model tokenization preparation           the base model and its head
    starter alteration corpus_checks               trains the base model that ships, counts what it learns from,
        starter_check                              and says how it does on real headlines
    pruning masks: movement hybrid soft_cutoff     what goes: one rule a method behind one interface
        magnitude wanda dropping vocabulary
    snapshots inside: inside_tables inside_charts  how the mask moved, and what a person sees of it
    compaction student                             what is left: a smaller dense BERT, in the midst of training
    training loop optimization finish              the story of a run, its steps and its end
        distillation
    evaluation yardstick timing svm                accuracy, latency, FLOPs and sizes, both sides by one rule; a cheap rival
    emissions: tracker grids spending meter_folder energy, and what it means in a country
    checkpoints pruned_format resuming storage     what is on the disk, whole or not at all
    runs rows database store jobs worker           runs as rows, processes and a queue
        event_writer standby devices
        device_locks failures upkeep
    inference preflight estimates prediction       what a person asks for directly, and when the answer is "not sure"
        data_preview calibration languages
        familiarity
        saliency
    benchmark: bench_options bench_settings        every claim of speed, measured in one run
        bench_models bench_latency bench_steps
        bench_run bench_throughput bench_tables
        peaks nn_pruning_modules vocabulary_demo
    lab: lab_memory lab_process lab_worker         any shape beside the dense one, timed while a person waits
        lab_charts
    study                                          which method costs least accuracy, over several seeds
    cli: train_options run_commands reports        the same without a screen
        visible
    replay                                         a finished run in one file, shown again where nothing trains
    charts drawing comparison comparison_charts    what a person is shown
        trade sweep_plan sweep answers paper
        sentences run_charts run_tables
    pictures export html_page: report_page         what a person takes along
        comparison_page
"""

import os

# Torch's threads spin while they wait for one another. On a machine whose cores a studio, a browser and a worker share, that
# makes a training step up to 15 times slower; waiting passively costs little. It counts only if it is set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# CUDA would count the fastest card first; the locks of the cards, and people who look at nvidia-smi, count as they are plugged in.
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
