"""Faults: real workers killed, frozen and cut off while every record is accounted for."""
