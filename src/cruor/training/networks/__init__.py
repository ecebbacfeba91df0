"""The networks that experiments name."""
