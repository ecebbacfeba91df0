"""The four counts of a decision, and what the paper's tables make of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cruor.training.evaluation.metrics import NORMAL_95, Estimate, Labels, proportion, undefined

RATES = ("ACC", "TPR", "TNR", "PPV", "NPV")


@dataclass(frozen=True)
class Counts:
    """The confusion matrix of a decision: true and false, positives and negatives."""

    tp: int
    fn: int
    fp: int
    tn: int

    @property
    def positives(self) -> int:
        """Cases with hemorrhage."""
        return self.tp + self.fn

    @property
    def negatives(self) -> int:
        """Cases without hemorrhage."""
        return self.fp + self.tn


def count(labels: Labels, called: Labels) -> Counts:
    """Count the decisions `called` against the truth `labels`, both (cases,)."""
    return Counts(
        tp=int(np.sum(labels & called)),
        fn=int(np.sum(labels & ~called)),
        fp=int(np.sum(~labels & called)),
        tn=int(np.sum(~labels & ~called)),
    )


def rates(counts: Counts) -> dict[str, Estimate]:
    """ACC, TPR, TNR, PPV and NPV with the intervals of the paper's Table 2.

    ACC, TPR and TNR: exact binomial (Clopper-Pearson). PPV and NPV: logit intervals (Mercaldo 2007),
    undefined at 0 and 100 %. Both assume that the cases are independent.
    """
    return {
        "ACC": proportion(counts.tp + counts.tn, counts.positives + counts.negatives),
        "TPR": proportion(counts.tp, counts.positives),
        "TNR": proportion(counts.tn, counts.negatives),
        "PPV": _predictive(counts.tp, counts.fp, _log_odds_error(counts.tp, counts.fn, counts.fp, counts.tn)),
        "NPV": _predictive(counts.tn, counts.fn, _log_odds_error(counts.tn, counts.fp, counts.fn, counts.tp)),
    }


def predictive_values(counts: Counts, prevalence: float) -> dict[str, Estimate]:
    """PPV and NPV at another prevalence than the data's, with logit intervals (Mercaldo 2007, equation 2).

    Args:
        counts: of the decision.
        prevalence: share of the cases with hemorrhage, in (0, 1), taken as known without error.
    """
    if counts.positives == 0 or counts.negatives == 0:
        missing = undefined("a class is missing")
        return {"PPV": missing, "NPV": missing}
    hit, spared = counts.tp / counts.positives, counts.tn / counts.negatives
    return {
        "PPV": _predictive(
            hit * prevalence,
            (1 - spared) * (1 - prevalence),
            _log_odds_error(counts.tp, counts.fn, counts.fp, counts.tn),
        ),
        "NPV": _predictive(
            spared * (1 - prevalence),
            (1 - hit) * prevalence,
            _log_odds_error(counts.tn, counts.fp, counts.fn, counts.tp),
        ),
    }


def _predictive(right: float, wrong: float, error: float) -> Estimate:
    """right / (right + wrong) with a logit interval of the given standard error."""
    if right + wrong == 0:
        return undefined("nothing is decided so")
    value = right / (right + wrong)
    if not math.isfinite(error) or value in (0, 1):
        return Estimate(value, math.nan, math.nan, "no logit interval at 0 or 100 %")
    if error == 0:
        return Estimate(value, math.nan, math.nan, "no logit interval: no case was spared or missed")
    middle, reach = math.log(right / wrong), NORMAL_95 * error
    return Estimate(value, _share(middle - reach), _share(middle + reach))


def _log_odds_error(right: int, missed: int, wrong: int, spared: int) -> float:
    """Standard error of the log odds of a predictive value; infinite where a count leaves it undefined.

    For PPV: var = (1 - TPR) / TPR / positives + TNR / (1 - TNR) / negatives, which is
    missed / right / (right + missed) + spared / wrong / (wrong + spared); for NPV the classes change places.
    """
    if right == 0 or wrong == 0:
        return math.inf
    return math.sqrt(missed / right / (right + missed) + spared / wrong / (wrong + spared))


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
