"""SB3 shells around the pure agents."""
