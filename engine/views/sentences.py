"""What events mean in a sentence, for the screen and the command line alike; plain text, no markup."""

from collections.abc import Sequence

from engine.config import PruningConfig
from engine.events import Compacted, ModelLoaded
from engine.records import CalibrationReport, Doubt, RunResult, SvmReport, VocabularyReport

OWN_FORMAT = (
    "No stock BERT has layers like these, so the model is saved in Chhatni's own format, which stock transformers cannot load. "
    "Chhatni can: under Try it, and with python -m engine classify --model"
)
"""Goes before the id of a run or the folder of a model."""


def what_went(event: Compacted, loaded: ModelLoaded | None) -> str:
    """Say what a compaction took and what is left, such as ``Step 42: FFN 1,024 -> 256 in each of 4 layers, 0 heads removed``."""
    sizes = event.intermediate_sizes
    before = "" if loaded is None else f"{loaded.intermediate_size:,} -> "
    if loaded is not None and set(sizes) == {loaded.intermediate_size}:
        before = "stays "
    parts = [f"FFN {before}{_widths(sizes)}", f"{_count(event.heads_removed, 'head')} removed"]
    dropped = layers_dropped(event, loaded)
    if dropped and not event.step:  # layers go before the first step; later events only have fewer of them
        numbers = ", ".join(str(number + 1) for number in dropped)
        parts.insert(0, f"layer{'s' if len(dropped) > 1 else ''} {numbers} dropped")
    left = loaded is not None and event.step is not None and event.step < loaded.total_steps
    rest = "; trains on at this size" if left else ""
    return f"{_when(event.step)}: {', '.join(parts)}{rest}{'' if event.stock else '; no longer a stock BERT'}"


def layers_dropped(event: Compacted, loaded: ModelLoaded | None) -> list[int]:
    """Return the base's layers that are gone, counted from 0."""
    if loaded is None or not event.kept_layers:
        return []
    return sorted(set(range(loaded.layers)) - set(event.kept_layers))


def vocabulary_kept(report: VocabularyReport) -> str:
    """Say how many tokens stay, what that saves and what it does to validation texts."""
    agree = report.label_agreement
    labels = "" if agree is None else f"; the base gives {agree * 100:.2f} % of all texts the label it gave before"
    return (
        f"Vocabulary: {report.tokens_after:,} of {report.tokens_before:,} tokens stay, {report.parameters_saved / 1e6:,.2f} M "
        f"parameters fewer. On validation texts: {report.unknown_after * 100:.2f} % unknown tokens (before "
        f"{report.unknown_before * 100:.2f} %), {report.texts_changed * 100:.2f} % of texts split otherwise{labels}."
    )


def svm_found(report: SvmReport) -> str:
    """Say what the SVM on the same texts is, what it cost and how good it is."""
    cut = (
        f" It reads the first {report.characters:,} characters of a text; {_count(report.texts_cut, 'training text')} "
        f"{'is' if report.texts_cut == 1 else 'are'} longer."
    )
    energy = (
        f"{1000 * report.energy_kwh:.2g} Wh ({report.energy_basis})"
        if report.energy_kwh
        else "too little energy to meter"
    )
    return (
        f"SVM on the same texts: a linear one over {report.features:,} character n-grams, trained in {report.training_s:.2g} s "
        f"with {energy}, {report.size_bytes / 1e6:.1f} MB, {report.latency_ms:.2g} ms a text. "
        f"Test accuracy {report.test_accuracy * 100:.2f} %, macro-F1 {report.test_macro_f1 * 100:.2f} %; validation accuracy "
        f"{report.accuracy * 100:.2f} %.{cut if report.texts_cut else ''}"
    )


def svm_rivals(result: RunResult) -> tuple[float, float, float] | None:
    """Return the accuracies of SVM, dense base and student on one split, the test split if all have it; None without an SVM."""
    svm, dense, student = result.svm, result.dense, result.student
    if svm is None or dense.accuracy is None or student.accuracy is None:
        return None
    if dense.test_accuracy is None or student.test_accuracy is None:
        return svm.accuracy, dense.accuracy, student.accuracy
    return svm.test_accuracy, dense.test_accuracy, student.test_accuracy


def svm_verdict(result: RunResult) -> str:
    """Say plainly whether the student, or at least the dense base, beats the SVM; nothing where there is none."""
    rivals = svm_rivals(result)
    if rivals is None:
        return ""
    svm, dense, student = rivals
    ours = f"{student * 100:.2f} % to the SVM's {svm * 100:.2f} %"
    if student > svm:
        return f"The student beats it: {ours}."
    word = "only equals it" if student == svm else "does not beat it"
    base = "beats it" if dense > svm else "does not beat it either"
    return f"The student {word}: {ours}. The dense base {base} ({dense * 100:.2f} %)."


def pruned_unit(pruning: PruningConfig) -> str:
    """Name what a method's density counts, as the beginning of a sentence."""
    if pruning.method == "layer-dropping":
        return "Layers"
    if pruning.method == "magnitude" and pruning.unit == "weight":
        return "Weights"
    if pruning.method == "hybrid":
        return "FFN + heads" if pruning.attention_unit == "head" else "FFN + blocks"
    return "FFN neurons"


def _when(step: int | None) -> str:
    if step is None:
        return "At the end"
    return f"Step {step:,}" if step else "Before the first step"


def _widths(sizes: Sequence[int]) -> str:
    """Say the widths of all layers: one number where they are alike, else the range and the mean."""
    layers = _count(len(sizes), "layer")
    if not sizes:
        return "0 in no layer"
    if len(set(sizes)) == 1:
        return f"{sizes[0]:,} in {'each of ' if len(sizes) > 1 else ''}{layers}"
    return f"{min(sizes):,} to {max(sizes):,} in {layers} (mean {sum(sizes) / len(sizes):,.0f})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


DOUBTS: dict[Doubt, str] = {
    "no letters": "the text holds no letters",
    "other language": "the text does not look like the language of the training texts",
    "repetition": "the text says the same words again and again",
    "unfamiliar": "the text is written like nothing in the training texts",
    "low probability": "no topic is probable enough",
}
"""Why an answer is unsure; the rule is `engine.measuring.calibration.doubt`."""


def calibration_found(report: CalibrationReport) -> str:
    """Say how far the probabilities can be believed and how often the model is sure."""
    right = "" if report.sure_accuracy is None else f" and is right in {report.sure_accuracy * 100:.1f} % of those"
    return (
        f"Calibrated on {report.fitted_on:,} validation texts (temperature {report.temperature:.2f}): expected calibration error "
        f"{report.ece * 100:.1f} % on {report.measured_on:,} test texts, before {report.ece_before * 100:.1f} %. It is sure of "
        f"{report.sure * 100:.1f} % of them{right}."
    )
