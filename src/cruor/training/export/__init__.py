"""Trained runs become a bundle."""
