"""The door: nobody is asked on this machine; elsewhere there must be a password, and it must be the right one."""

from collections.abc import Callable, Iterator

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from engine.home import REPOSITORY
from pages.shared import door
from tests.pages.conftest import everything

PASSWORD = "गुपित-परवलीचा-शब्द"


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str | None], None]]:
    """Return a function that sets the address the studio listens on."""
    before = config.get_option("server.address")
    monkeypatch.setattr(door, "PAUSE_S", 0.0)
    yield lambda address: config.set_option("server.address", address)
    config.set_option("server.address", before)


@pytest.fixture
def app(home: object, routed: None) -> AppTest:
    return AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60)


@pytest.mark.parametrize(
    ("address", "others"),
    [
        ("127.0.0.1", False),
        ("127.0.0.2", False),
        ("::1", False),
        ("localhost", False),
        (None, True),
        ("", True),
        ("0.0.0.0", True),
        ("::", True),
        ("192.168.1.4", True),
        ("studio.example", True),
    ],
)
def test_only_loopback_is_this_machine(listen: Callable[[str | None], None], address: str | None, others: bool) -> None:
    listen(address)
    assert door.open_to_others() is others


def test_nobody_is_asked_on_this_machine(app: AppTest) -> None:
    assert [each.value for each in app.run().title] == ["Prune"]


@pytest.mark.parametrize("password", ["", "short"])
def test_without_a_good_password_nothing_is_shown_to_others(
    app: AppTest, listen: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    listen("0.0.0.0")
    monkeypatch.setenv(door.VARIABLE, password)
    app.run()
    assert "has no password" in everything(app)
    assert [each.value for each in app.title] == ["Chhatni छाटणी"]
    assert not app.text_input
    assert not app.button


def test_the_password_opens_the_door_for_its_session_alone(
    app: AppTest, listen: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch, home: object
) -> None:
    listen("0.0.0.0")
    monkeypatch.setenv(door.VARIABLE, PASSWORD)
    app.run()
    assert [each.value for each in app.title] == ["Chhatni छाटणी"]
    app.text_input(key=door.TYPED).set_value("something else")
    app.button[0].click().run()
    assert "That is not the password." in everything(app)
    assert "Prune" not in [each.value for each in app.title]
    app.text_input(key=door.TYPED).set_value(PASSWORD)
    app.button[0].click().run()
    assert [each.value for each in app.title] == ["Prune"]
    assert PASSWORD not in everything(app)
    other = AppTest.from_file(str(REPOSITORY / "app.py"), default_timeout=60).run()
    assert [each.value for each in other.title] == ["Chhatni छाटणी"]
