"""The probabilities of given lines, and the most probable completions."""
