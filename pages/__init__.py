"""One plain script a page; `app.py` is their router."""
