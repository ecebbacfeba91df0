import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cruor.bundle.manifest import RULES, OperatingPoint, Rules
from cruor.cli import RuleName
from cruor.reader.rules import PAPER_TENTHS, PROBABILITY, explain, is_suspected, slices_needed

BUNDLE_RULES = Rules(PROBABILITY, "", 0.8, OperatingPoint("balanced", 0.5, ""))


@pytest.mark.parametrize(
    ("rule", "slices", "needed"),
    [
        ("paper-10", 30, 3),  # the paper's own examples (section 3.1)
        ("paper-10", 40, 4),
        ("paper-5", 30, 2),  # 1.5 is not below: 2
        ("paper-5", 50, 3),  # 2.5; the published code rounds half to even and asks for 2
        ("paper-5", 20, 1),
        ("paper-2.5", 40, 1),
        ("paper-2.5", 41, 2),
        ("paper-2.5", 1, 1),
    ],
)
def test_the_papers_rule_asks_for_the_smallest_whole_number_not_below_its_share(rule, slices, needed):
    assert slices_needed(PAPER_TENTHS[rule], slices) == needed


@given(st.sampled_from(sorted(PAPER_TENTHS)), st.integers(1, 5000))
def test_the_count_is_exact_for_any_number_of_slices(rule, slices):
    share = Fraction(PAPER_TENTHS[rule], 1000)
    assert slices_needed(PAPER_TENTHS[rule], slices) == max(1, math.ceil(share * slices))


def test_one_slice_fewer_than_needed_is_not_suspected():
    for rule in PAPER_TENTHS:
        needed = slices_needed(PAPER_TENTHS[rule], 100)
        assert is_suspected(rule, BUNDLE_RULES, 0.0, needed, 100)
        assert not is_suspected(rule, BUNDLE_RULES, 1.0, needed - 1, 100)


def test_the_probability_rule_looks_at_the_study_probability_alone():
    assert is_suspected(PROBABILITY, BUNDLE_RULES, 0.5, 0, 30)
    assert not is_suspected(PROBABILITY, BUNDLE_RULES, 0.4999, 30, 30)


def test_there_is_no_default_answer_for_an_unknown_rule():
    with pytest.raises(KeyError):
        is_suspected("paper-7", BUNDLE_RULES, 1.0, 30, 30)


def test_the_command_line_offers_just_these_rules():
    assert tuple(RuleName) == RULES == (PROBABILITY, *PAPER_TENTHS)


def test_the_sentence_names_the_numbers_the_decision_rests_on():
    assert "1 of 28 slices above 0.8, suspected from 2" in explain("paper-5", BUNDLE_RULES, 0.3, 1, 28)
    assert "0.300, suspected from 0.500" in explain("probability", BUNDLE_RULES, 0.3, 1, 28)
