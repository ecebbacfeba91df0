"""Prepared data -> experiment -> run -> bundle. The only room that imports torch; it comes with the `train` extra."""
