"""Runs compared: what is read from their folders, the statistics, pictures and pages."""
