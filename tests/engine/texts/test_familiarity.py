"""Which letter sequences a model's training texts hold, and how strange a text is beside them."""

from hypothesis import given
from hypothesis import strategies as st

from engine.texts.familiarity import BITS, LENGTH, Familiarity

WORDS = st.text(st.characters(min_codepoint=0x0905, max_codepoint=0x0939), min_size=1, max_size=12)
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=8).map(" ".join), min_size=1, max_size=8)


@given(TEXTS)
def test_nothing_of_a_training_text_is_strange(texts: list[str]) -> None:
    familiar = Familiarity.of(texts)
    assert [familiar.strange(text) for text in texts] == [0.0] * len(texts)
    assert familiar.strange_within(texts) == 0.0


def test_the_share_counts_sequences_over_the_edges_of_words() -> None:
    familiar = Familiarity.of(["सामना"])
    assert LENGTH == 5
    assert familiar.strange("सामना") == 0.0
    # " साम" + "न", "सामना", "ामना ": three of its own; in "सामनात" the last two of four are others
    assert familiar.strange("सामनात") == 0.5
    assert familiar.strange("") == familiar.strange("   ") == 0.0
    assert familiar.strange("गा") == 0.0, "a word of fewer letters has no sequence"
    assert familiar.strange("\ud800 क्रिकेटचा") == 1.0, "half a surrogate pair is a character like others"


def test_a_few_strange_texts_do_not_move_the_bound() -> None:
    familiar = Familiarity.of(["सामना"])
    assert familiar.strange_within(["सामना"] * 98 + ["क्रिकेट"] * 2) == 0.0
    assert familiar.strange_within(["सामना"] * 97 + ["क्रिकेट"] * 3) == 1.0


def test_many_texts_leave_what_is_unknown_unknown() -> None:
    """Half of the filter's places are taken by some 360,000 sequences; a text is strange only by most of its own."""
    familiar = Familiarity.of([f"{number:09d}" for number in range(40_000)])
    assert BITS == 2**19
    assert familiar.strange("क्रिकेटमध्ये भारताचा विजय") > 0.8
