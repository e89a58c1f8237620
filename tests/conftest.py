"""What holds for every test."""

import engine  # noqa: F401  (sets how torch's threads wait, which counts only before torch is imported)
