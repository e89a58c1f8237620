"""Who may come in: everybody on this machine, and from elsewhere whoever knows the password.

The studio starts programs and reads files, so where it listens on more than this machine, it shows nothing without one.
"""

import hmac
import ipaddress
import os
import time

import streamlit as st

from engine.concealing import PASSWORD
from pages.shared.language import say

VARIABLE = PASSWORD
LEAST = 12
"""Characters that a password must have."""
PAUSE_S = 1.0
"""How long a wrong password waits for its answer."""
INSIDE, TYPED = "door_inside", "door_typed"


def open_to_others() -> bool:
    """Tell whether the studio listens on more than this machine; without an address it listens on everything."""
    address = st.get_option("server.address")
    if address == "localhost":
        return False
    try:
        return not ipaddress.ip_address(address or "0.0.0.0").is_loopback  # noqa: S104 - only compared
    except ValueError:
        return True  # a name, and who knows of what


def guard() -> None:
    """Let the session go on, or ask for the password and end this run of the page."""
    if not open_to_others() or st.session_state.get(INSIDE):
        return
    password = os.environ.get(VARIABLE, "")
    st.title("Chhatni छाटणी", anchor=False)
    if len(password) < LEAST:
        st.error(
            say(
                "The studio listens on more than this machine and has no password. Stop it, then start it again with a password of "
                "{least} characters or more in the environment variable {variable}, or without another address.",
                least=LEAST,
                variable=VARIABLE,
            ),
            icon=":material/lock:",
        )
        st.stop()
    with st.form("door", width=420):
        typed = st.text_input(say("Password"), type="password", key=TYPED)
        pressed = st.form_submit_button(say("Come in"), type="primary", icon=":material/login:")
    if pressed and hmac.compare_digest(typed.encode(), password.encode()):
        st.session_state[INSIDE] = True
        st.rerun()
    if pressed:
        time.sleep(PAUSE_S)
        st.error(say("That is not the password."), icon=":material/lock:")
    st.stop()
