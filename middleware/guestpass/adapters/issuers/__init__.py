"""The authorities that mint guest tokens."""
