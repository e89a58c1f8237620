"""The studio: `streamlit run app.py`. Routes to the pages and sets what they share."""

from pathlib import Path

import streamlit as st

# A picture of our own: Streamlit would fetch the drawing of a named icon from the internet.
ICON = Path(__file__).parent / "assets" / "icon.png"
# Streamlit leaves 6 rem above the first line for a toolbar that is empty here.
STYLE = "<style>.stMainBlockContainer {padding-top: 3rem; padding-bottom: 3rem}</style>"

st.set_page_config(page_title="Chhatni छाटणी", page_icon=str(ICON), layout="wide")
st.html(STYLE)
# Addresses are the names of the files: a server that has served nobody yet knows no others.
page = st.navigation(
    {
        "Chhatni छाटणी": [
            st.Page("pages/prune.py", title="Prune", icon=":material/content_cut:", default=True),
            st.Page("pages/live.py", title="Live", icon=":material/monitoring:"),
            st.Page("pages/compare.py", title="Compare", icon=":material/compare_arrows:"),
            st.Page("pages/try_it.py", title="Try it", icon=":material/chat:"),
        ]
    }
)
page.run()
