"""What holds for every test."""

import os

# Each test's homes take turns among themselves and with nobody else; set before any process is started.
os.environ["CHHATNI_LOCKS"] = "locks"

import engine  # noqa: F401  (sets how torch's threads wait, which counts only before torch is imported)
