"""Prepared data -> experiment -> run -> bundle. Only this room imports torch: the `train` extra."""
