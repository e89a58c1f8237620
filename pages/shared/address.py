"""Choices that every page shares and that stand in the address, so that a link opens the studio as it was seen."""

from collections.abc import Collection

import streamlit as st


def keep(key: str, allowed: Collection[str], default: str) -> str:
    """Settle a choice at the start of a run of the studio and return it: what the address says, else what was chosen before.

    Streamlit drops the query when somebody goes to another page; the choice is then put back. The default stands in no address.

    Args:
        key: the name in the address and in the session, where fragments find it when they run without the rest.
        allowed: the values that count; any other is as if there were none.
        default: what is chosen where nobody said anything.
    """
    asked = st.query_params.get(key)
    before: str = st.session_state.get(key, default)
    chosen = asked if asked in allowed else before
    choose(key, chosen, default)
    return chosen


def choose(key: str, value: str, default: str) -> None:
    """Make a choice: in the session and in the address."""
    st.session_state[key] = value
    if value == default:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != value:
        st.query_params[key] = value
