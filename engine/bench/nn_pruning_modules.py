"""nn_pruning's own modules on a current Python, for tests and the benchmark to compare with; training never uses them.

nn_pruning 0.1.2 (Lagunas et al. 2021, https://github.com/huggingface/nn_pruning) gives some dataclasses a mutable default that
Python refuses since 3.11 because it cannot be hashed. Its classes become hashable during the one import, and only they do.
Its compilation of a pruned model calls ``prune_heads``, which transformers v5 no longer has; patching and training work.
"""

import dataclasses
import importlib
import threading
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch  # noqa: F401  (loaded here so that the import below, with its changed decorator, is nn_pruning's alone)
from transformers import BertForSequenceClassification

_import_lock = threading.Lock()


def _load(name: str) -> ModuleType:
    """Import one of nn_pruning's modules with hashable dataclasses; `dataclasses` is afterwards what it was before."""
    with _import_lock:
        original: Any = dataclasses.dataclass

        def hashable(cls: type | None = None, /, **options: Any) -> Any:
            if cls is None:
                return lambda later: hashable(later, **options)
            if cls.__module__.split(".")[0] == "nn_pruning":
                options["unsafe_hash"] = True
            return original(cls, **options)

        dataclasses.dataclass = hashable
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it escapes dots in plain strings, and newer Pythons say so
                return importlib.import_module(name)
        finally:
            dataclasses.dataclass = original


def masked_nn() -> ModuleType:
    """Return ``nn_pruning.modules.masked_nn``: `MaskedLinear`, its score modules and its patchers."""
    return _load("nn_pruning.modules.masked_nn")


def patch_coordinator() -> ModuleType:
    """Return ``nn_pruning.patch_coordinator``: `ModelPatchingCoordinator` and `SparseTrainingArguments`."""
    return _load("nn_pruning.patch_coordinator")


def coordinator(**settings: Any) -> Any:
    """Return nn_pruning's `ModelPatchingCoordinator` of a text classifier, without a teacher.

    Args:
        settings: fields of its `SparseTrainingArguments`; the others have nn_pruning's defaults.
    """
    module = patch_coordinator()
    arguments = module.SparseTrainingArguments(**settings)
    return module.ModelPatchingCoordinator(
        arguments, device=None, cache_dir=None, logit_names=["logits"], teacher_constructor=None
    )


def patched_bert(
    model: BertForSequenceClassification, *, density: float, hybrid: bool = False
) -> tuple[BertForSequenceClassification, Callable[[float], None]]:
    """Put nn_pruning's masks on a model, in place: rows and columns of the FFN, and blocks of the attention beside them.

    Args:
        model: a BERT classifier; its linear layers are replaced by ``MaskedLinear``.
        density: share of each matrix that its masks keep at first ("threshold" in nn_pruning), 0 to 1.
        hybrid: also mask 32 x 32 blocks of the four attention matrices, as in "hybrid" pruning (Lagunas et al., section 3).

    Returns:
        The same model, and a function that sets another density.
    """
    masks = coordinator(
        dense_pruning_method="topK:1d_alt",
        attention_pruning_method="topK" if hybrid else "disabled",
        attention_block_rows=32,
        attention_block_cols=32,
        # with True its own count of patched matrices is wrong when attention is left alone
        attention_output_with_dense=False,
    )
    device = model.classifier.weight.device
    masks.patch_model(model)
    model.to(device)  # the scores are made on the CPU

    def set_density(density: float) -> None:
        masks.patcher_context.set_context_data("threshold", density)

    set_density(density)
    return model, set_density
