"""From slices to the study: the paper's rule and the calibrated study probability."""

from __future__ import annotations

from cruor.bundle.manifest import Rules

PROBABILITY = "probability"
PAPER_TENTHS = {"paper-2.5": 25, "paper-5": 50, "paper-10": 100}
"""The paper's n %, in tenths of a percent, so that the count is exact in whole numbers."""


def slices_needed(tenths_of_percent: int, slice_count: int) -> int:
    """Positive slices that make a study suspected under the paper's rule (section 3.1).

    The smallest whole number not below n % of the slices, at least one. (The published code rounds
    half to even and so asks for 2 of 50 slices at 5 %; the paper's words ask for 3.)
    """
    return max(1, -(-tenths_of_percent * slice_count // 1000))


def is_suspected(rule: str, rules: Rules, probability: float, positive_slices: int, slice_count: int) -> bool:
    """Decide a study.

    Args:
        rule: one of RULES.
        rules: the bundle's thresholds.
        probability: of the study, 0 to 1.
        positive_slices: slices with a probability above `rules.slice_threshold`.
        slice_count: slices read.

    Raises:
        KeyError: an unknown rule.
    """
    if rule == PROBABILITY:
        return probability >= rules.operating_point.threshold
    return positive_slices >= slices_needed(PAPER_TENTHS[rule], slice_count)


def explain(rule: str, rules: Rules, probability: float, positive_slices: int, slice_count: int) -> str:
    """What the decision rests on, in one sentence with its numbers."""
    if rule == PROBABILITY:
        point = rules.operating_point
        return f"rule probability: {probability:.3f}, suspected from {point.threshold:.3f} ({point.name})"
    needed = slices_needed(PAPER_TENTHS[rule], slice_count)
    above = f"{positive_slices} of {slice_count} slices above {rules.slice_threshold}"
    return f"rule {rule}: {above}, suspected from {needed}"
