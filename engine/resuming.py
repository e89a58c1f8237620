"""A run between two steps, taken apart for the disk and put together again."""

from typing import TYPE_CHECKING, Any

import torch

from engine.checkpoints import ResumeState, digest_text
from engine.config import RunConfig
from engine.events import Measurement

if TYPE_CHECKING:
    from engine.training import Loop


def fingerprint(config: RunConfig) -> str:
    """Return a hash of everything that a saved state depends on; a new name changes nothing."""
    return digest_text(config.model_dump_json(exclude={"name"}))


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
    }
    state = {
        "optimizer": loop.optimizer.state_dict(),
        "scheduler": loop.scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "random": random_states,
    }
    return ResumeState(loop.step, fingerprint(loop.config), loop.student.state_dict(), state, facts)


def restore(loop: "Loop", former: ResumeState) -> None:
    """Put a loop back to where it was saved."""
    loop.student.load_state_dict(former.model)
    loop.optimizer.load_state_dict(former.state["optimizer"])
    loop.scheduler.load_state_dict(former.state["scheduler"])
    if loop.accelerator.scaler is not None and former.state["scaler"]:
        loop.accelerator.scaler.load_state_dict(former.state["scaler"])
    loop.step = former.step
    loop.elapsed_before_s = float(former.facts["elapsed_s"])
    loop.skipped_steps = int(former.facts["skipped_steps"])
    loop.baseline = Measurement.model_validate(former.facts["baseline"])
    torch.set_rng_state(former.state["random"]["cpu"])
    if loop.prepared.device.type == "cuda" and "cuda" in former.state["random"]:
        torch.cuda.set_rng_state(former.state["random"]["cuda"], loop.prepared.device)
