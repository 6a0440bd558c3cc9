"""Canaries."""


def measure(*a): ...
