"""Slices to probabilities and maps, slices to study, rules and operating points: `read_study` is the entrance."""
