"""What a running instance tells of itself, all its workers together."""
