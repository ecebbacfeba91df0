"""cruor reads head CT for intracranial hemorrhage. Research use only, not a medical device."""

__version__ = "0.1.0"
