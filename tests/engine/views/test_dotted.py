"""Values inside values, each under one dotted name."""

from engine.views.dotted import dotted


def test_values_inside_values_get_dotted_names_in_their_order() -> None:
    found = dotted(
        {"name": None, "training": {"seed": 7, "more": {"lr": 0.5}}, "sizes": [1, {"a": 2}], "empty": {}, "last": ""}
    )

    assert list(found.items()) == [
        ("name", None),
        ("training.seed", 7),
        ("training.more.lr", 0.5),
        ("sizes", [1, {"a": 2}]),
        ("last", ""),
    ]
