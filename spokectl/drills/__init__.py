"""Drills: the stack is broken on purpose under load, and what clients saw is judged."""
