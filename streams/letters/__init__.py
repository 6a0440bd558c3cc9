"""Dead letters for people: list them, show one, count them after all."""
