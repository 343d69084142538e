"""Proves the whole path of a guest's token, step by step, and says what to mend where a step fails."""
