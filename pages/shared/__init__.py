"""The few helpers that pages share."""
