"""Slices to probabilities and maps, slices to study, rules: `read_study` is the one entrance."""
