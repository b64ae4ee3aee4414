"""Losses of held-out lines and texts, and the count model that they are compared with."""
