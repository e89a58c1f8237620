"""One plain script a page; `app.py` is their router."""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

# A folder of this name makes Streamlit draw a menu of its own, and run a page without its router, until `st.navigation` has been
# called once: a new server whose first visitor follows a link to a page would show that. This package is imported once a server,
# by the router or by such a page; from then on the router is in charge.
if PagesManager.uses_pages_directory:
    PagesManager.uses_pages_directory = False
    st.rerun()
