"""A run between two steps, taken apart for the disk and put together again."""

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import torch

from engine.checkpoints import ResumeState, digest_text
from engine.config import RunConfig
from engine.errors import CheckpointError, DataError
from engine.loop.preparation import Prepared
from engine.loop.spending import Spent
from engine.records import Measurement, SvmReport

if TYPE_CHECKING:
    from engine.loop.steps import Loop


def fingerprint(config: RunConfig) -> str:
    """Return a hash of everything that a saved state depends on; a new name changes nothing."""
    return digest_text(config.model_dump_json(exclude={"name"}))


def digest_material(prepared: Prepared, vocabulary: Sequence[int] = ()) -> dict[str, str]:
    """Return hashes of what a run is made from: its encoded texts and labels, and the encoder of its dense base.

    A smaller vocabulary comes from the training texts at their whole length, of which the model may read less.

    The files behind them may change between a stop and a resume, and nothing in the config would tell.
    """
    data = blake2b(repr(prepared.data.labels).encode("utf-8"), digest_size=16)
    parts = (prepared.data.train, prepared.data.validation, prepared.data.test)
    for split, ids in zip(parts, (prepared.train_ids, prepared.validation_ids, prepared.test_ids), strict=True):
        data.update(array("q", [len(ids), *split.labels, *map(len, ids)]).tobytes())
        for tokens in ids:
            data.update(array("q", tokens).tobytes())
    data.update(array("q", vocabulary).tobytes())
    return {"data": data.hexdigest(), "base": digest_weights(prepared.dense.bert)}


def digest_weights(module: torch.nn.Module) -> str:
    """Return a hash of a module's weights and their names."""
    found = blake2b(digest_size=16)
    for name, weight in module.state_dict().items():
        found.update(name.encode("utf-8"))
        found.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def check_material(loop: "Loop", former: ResumeState) -> None:
    """Refuse to go on with other texts or another base than those the saved state was made from.

    Test texts could be among those learned from before, and the teacher's answers would be about other texts.

    Raises:
        DataError: if the texts, their labels or their tokens have changed.
        CheckpointError: if the base model has.
    """
    then, now = former.facts["material"], loop.material
    if then["data"] != now["data"]:
        raise DataError(
            f"The dataset {loop.config.data.source} has changed since step {former.step} was saved: its texts, labels or tokens "
            "are others. Put the former file back, or start a copy of the run to learn from the new one.",
            loop.config.data.source,
        )
    if then["base"] != now["base"]:
        raise CheckpointError(
            f"The base model {loop.config.model.base} has changed since step {former.step} was saved: its weights are others. "
            "Put the former model back, or start a copy of the run."
        )


def capture(loop: "Loop") -> ResumeState:
    """Collect everything that the next step depends on."""
    random_states = {"cpu": torch.get_rng_state()}
    if loop.prepared.device.type == "cuda":
        random_states["cuda"] = torch.cuda.get_rng_state(loop.prepared.device)
    scaler = loop.accelerator.scaler
    facts: dict[str, Any] = {
        "precision": loop.precision,
        "device": loop.prepared.device.type,
        "elapsed_s": loop.elapsed_s,
        "skipped_steps": loop.skipped_steps,
        "emissions": loop.meter.totals().model_dump(mode="json"),
        "baseline": loop.baseline.model_dump(mode="json") if loop.baseline else None,
        "svm": loop.svm.model_dump(mode="json") if loop.svm else None,
        "material": loop.material,
        "student": loop.student.facts(),
    }
    state = {
        "optimizer": loop.optimizer.state_dict(),
        "scheduler": loop.scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "random": random_states,
    }
    return ResumeState(loop.step, fingerprint(loop.config), loop.student.model.state_dict(), state, facts)


def saved_spending(former: ResumeState) -> Spent:
    """Return what the run had used when a state was saved."""
    return Spent.model_validate({"elapsed_s": former.facts["elapsed_s"], "emissions": former.facts["emissions"]})


def restore(loop: "Loop", former: ResumeState) -> None:
    """Put a loop back to where it was saved.

    Raises:
        DataError, CheckpointError: if it is made from something else now, see `check_material`.
    """
    check_material(loop, former)
    loop.student.restore(former.facts["student"], former.model, loop.optimizer.optimizer)
    loop.optimizer.load_state_dict(former.state["optimizer"])
    loop.scheduler.load_state_dict(former.state["scheduler"])
    if loop.accelerator.scaler is not None and former.state["scaler"]:
        loop.accelerator.scaler.load_state_dict(former.state["scaler"])
    loop.step = former.step
    loop.skipped_steps = int(former.facts["skipped_steps"])
    loop.baseline = Measurement.model_validate(former.facts["baseline"])
    svm = former.facts.get("svm")  # states saved by an older version have none
    loop.svm = SvmReport.model_validate(svm) if svm else None
    torch.set_rng_state(former.state["random"]["cpu"])
    if loop.prepared.device.type == "cuda" and "cuda" in former.state["random"]:
        torch.cuda.set_rng_state(former.state["random"]["cuda"], loop.prepared.device)
