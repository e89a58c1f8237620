"""The studio: `streamlit run app.py`. Routes to the pages and sets what they share."""

from pathlib import Path

import streamlit as st

from pages.shared.door import guard
from pages.shared.language import choose_language, say, settle_language
from pages.shared.presenter import choose_presenter, presenting, settle_presenter, show_bar

# A picture of our own: Streamlit would fetch the drawing of a named icon from the internet.
ICON = Path(__file__).parent / "assets" / "icon.png"
# Streamlit leaves 6 rem above the first line for a toolbar that is empty here and 5 rem beside tables that need the room, fades
# whatever a slow tick has not drawn yet, and writes in white on the accent colour, which is too light where the page is dark.
STYLE = """<style>
.stMainBlockContainer {padding-top: 3rem; padding-bottom: 3rem}
@media (min-width: 641px) {.stMainBlockContainer {padding-left: 2rem; padding-right: 2rem}}
[data-stale=true] {opacity: 1 !important; transition: none !important}
button[kind=primary]:enabled, [data-testid=stMultiSelect] [data-tag] {color: light-dark(#ffffff, #06110f)}
</style>"""

settle_language()
settle_presenter()
st.set_page_config(
    page_title="Chhatni छाटणी",
    page_icon=str(ICON),
    layout="wide",
    initial_sidebar_state="collapsed" if presenting() else "auto",
)
st.html(STYLE)
guard()
# Addresses are the names of the files: a server that has served nobody yet knows no others.
page = st.navigation(
    {
        "Chhatni छाटणी": [
            st.Page("pages/prune.py", title=say("Prune"), icon=":material/content_cut:", default=True),
            st.Page("pages/live.py", title=say("Live"), icon=":material/monitoring:"),
            st.Page("pages/compare.py", title=say("Compare"), icon=":material/compare_arrows:"),
            st.Page("pages/try_it.py", title=say("Try it"), icon=":material/chat:"),
            st.Page("pages/inside.py", title=say("Inside"), icon=":material/layers:"),
            st.Page("pages/speed_lab.py", title=say("Speed lab"), icon=":material/speed:"),
        ]
    }
)
with st.sidebar:
    choose_language()
    choose_presenter()
if presenting():
    show_bar(page.url_path or "prune")
page.run()
