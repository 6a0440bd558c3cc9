"""Trying to make answers lie, leak or break: each module plays one kind of trouble against the real code."""
