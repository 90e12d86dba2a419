"""Measurements of the project, and the tables that come of them; each is a command of its own."""
