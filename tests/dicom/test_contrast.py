"""Whether a series was taken with contrast agent: what its elements say, in many words and languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from cruor.dicom.choice import choose_series
from cruor.dicom.contrast import contrast_doubt, with_contrast
from cruor.dicom.instances import Series
from tests.dicom import writing

HEAD = writing.head_slices()


def series_with(**elements: Any) -> Series:
    (series,) = writing.series_of(writing.ct(HEAD[0], **elements))
    return series


def test_a_series_with_contrast_is_refused_with_what_to_send(tmp_path: Path) -> None:
    writing.write_series(tmp_path, HEAD, ContrastBolusVolume="80")
    choice = choose_series(writing.study_of(tmp_path))
    assert choice.series is None
    assert "(ContrastBolusVolume)" in str(choice.reason)
    assert "send the plain series" in str(choice.reason)


CONTRAST = [
    "PRE OP W CONTRAST",
    "HEAD NO 2 CONTRAST",
    "CTA head",
    "HEAD_CTA_0.6",
    "HEAD C+",
    "Head +C",
    "HEAD + C 5mm",
    "HEAD C+ TRA 5.0",
    "C+ THIN",
    "C+ TRANSVERSAL",
    "C+ LAT",
    "post contrast",
    "CT perfusion",
    "W/WO CONTRAST",
    "WITH AND WITHOUT CONTRAST",
    "WITHOUT AND WITH CONTRAST",
    "CT HEAD W WO CONTRAST",
    "CTA HEAD W WO CONTRAST",
    "W/ & W/O",
    "W/ AND W/O",
    "W OR WO",
    "WWO",
    "WITH OR WITHOUT",
    "HEAD W CON 5mm",
    "HEAD W/ CON",
    "HEAD IV CON",
    "CECT",
    "Schaedel nach KM",
    "Schaedel_KM_5.0",
    "Schädel mit KM",
    "cerveau injecté",
    "cerveau avec injection",
    "cranio con mdc",
    "craneo con contraste",
    "cranio con M.D.C.",
    "SIN Y CON CONTRASTE",
    "SENZA E CON MDC",
    "COM E SEM CONTRASTE",
    "CCT mit/ohne KM",
    "W/C",
    "HEAD +CM",
    "BRAIN ENH",
    "AVEC IV",
    "AVEC PDC",
    "CRANE INJ",
    "CON CIV",
    "POST CIV",
    "FASE VENOSA",
    "VEINEUX",
    "PHASE VEINEUSE",
    "ARTERIOSA",
    "VENEUS",
    "ARTERIEEL",
    "OMNIPAQUE",
    "venös",
    "arteriell",
    "CT HEAD WITH CONTRAST",
    "CT HEAD W CONTRAST",
    "Head post contrast",
    "TWO PHASE CTA",
    "angio-CT",
    "Head^03_Post_KM",
    "PRE AND POST CONTRAST",
    "postcontrast",
    "POST-CON",
]
PLAIN = [
    "huvud utan kontrast",
    "hoved uden kontrast",
    "glowa bez kontrastu",
    "NON CONTRAST HEAD",
    "HEAD NO CONTRAST",
    "HEAD NO IV CONTRAST",
    "unenhanced",
    "C-",
    "HEAD C- 5mm",
    "Schaedel ohne KM",
    "Schaedel nativ",
    "cerveau sans injection",
    "cranio senza mdc",
    "craneo sin contraste",
    "NON INJECTÉ",
    "cerveau non injectée",
    "o. KM",
    "o.KM",
    "kein KM",
    "KM-frei",
    "ohne i.v. KM",
    "vor Kontrastmittel",
    "S/MDC",
    "sans produit de contraste",
    "senza mezzo di contrasto",
    "sem meio de contraste",
    "S/ CONTRASTE",
    "W/OUT CONTRAST",
    "-CONTRAST",
    "CONTRAST: NONE",
    "geen contrast",
    "zonder i.v. contrast",
    "PRÉ-CONTRASTE",
    "HEAD W/O",
    "HEAD_W/O",
    "HEAD WO CONTRAST",
    "NCCT",
    "PLAIN",
    "PRE CONTRAST",
    "avant injection",
    "CT HEAD WITHOUT CONTRAST",
    "CT BRAIN W/O IV CONTRAST",
    "NONCONTRAST",
    "NON-ENHANCED",
    "non enhanced",
]
NOTHING = [
    "POST FOSSA 2.5",
    "HEAD POST OP",
    "HEAD +C-SPINE",
    "HEAD+C SPINE",
    "HEAD + C/T/L SPINE",
    "AXIAL BRAIN WITH MPR",
    "POST CONCUSSION",
    "POST CONTUSION",
    "POST INJURY",
    "CT HEAD POST INJURY",
    "ANGIOMA",
    "LOW CONTRAST",
    "BOLUS TRACKING",
    "HEAD 5.0 H31s",
    "Schaedel 5mm",
    "HEAD W C-SPINE",
    "CT HEAD AND C-SPINE",
    "Brain Std",
    "TETE 5mm",
    "CRANEO AXIAL",
    "TESTA SIN",
    "head w mpr",
    "C+T SPINE",
    "CONVEXITY",
    "POST CRANI",
]
BOTH = [
    "PLAIN + CONTRAST",
    "NATIV UND KM",
    "NATIVE CTA",
    "PRE CONTRAST AND POST CONTRAST",
    "CTA W/O BONE",
]


@pytest.mark.parametrize("description", CONTRAST)
def test_contrast_is_known_by_the_description(description: str) -> None:
    told = with_contrast(series_with(SeriesDescription=description))
    assert told == "with contrast agent by its description; bleeding and contrast look alike"


@pytest.mark.parametrize("description", PLAIN)
def test_a_series_that_says_it_is_plain_is_plain_whatever_was_examined(description: str) -> None:
    series = series_with(SeriesDescription=description, StudyDescription="CTA HEAD")
    assert with_contrast(series) is None
    assert contrast_doubt(series) is None


@pytest.mark.parametrize("description", NOTHING)
def test_words_that_only_look_like_contrast_say_nothing(description: str) -> None:
    series = series_with(SeriesDescription=description, StudyDescription=description)
    assert with_contrast(series) is None
    assert contrast_doubt(series) is None
    assert contrast_doubt(series_with(SeriesDescription=description, ProtocolName="CTA"))


@pytest.mark.parametrize("description", BOTH)
def test_a_description_that_speaks_of_both_leaves_a_doubt(description: str) -> None:
    series = series_with(SeriesDescription=description)
    assert with_contrast(series) is None
    assert "speaks of contrast and of none" in str(contrast_doubt(series))


@pytest.mark.parametrize(
    "elements",
    [
        {"ContrastBolusAgent": "Iomeprol"},
        {"ContrastBolusVolume": "75"},
        {"ContrastBolusVolume": ["0", "20"]},
        {"ContrastBolusTotalDose": "30.5"},
        {"ContrastBolusRoute": "IV"},
        {"ContrastBolusIngredient": "IODINE"},
        {"ContrastBolusAgentSequence": [Dataset()]},
    ],
)
def test_an_element_that_is_filled_for_contrast_alone_tells_of_it(elements: dict[str, Any]) -> None:
    (element,) = elements
    assert f"({element})" in str(with_contrast(series_with(**elements)))


@pytest.mark.parametrize(
    "elements",
    [
        {"ContrastBolusAgent": ""},
        {"ContrastBolusAgent": "NONE"},
        {"ContrastBolusAgent": "no", "ContrastBolusRoute": "IV"},
        {"ContrastBolusAgent": "NON"},
        {"ContrastBolusAgent": "None."},
        {"ContrastBolusAgent": "NO_CONTRAST"},
        {"ContrastBolusAgent": "WITHOUT CONTRAST"},
        {"ContrastBolusAgent": "OHNE"},
        {"ContrastBolusAgent": "-"},
        {"ContrastBolusAgent": ["NONE", "NONE"]},
        {"ContrastBolusVolume": "0"},
        {"ContrastBolusRoute": "NONE"},
    ],
)
def test_elements_that_say_none_are_plain(elements: dict[str, Any]) -> None:
    assert with_contrast(series_with(**elements)) is None


def test_an_amount_counts_though_the_agent_is_called_none() -> None:
    series = series_with(ContrastBolusAgent="NONE", ContrastBolusVolume="80")
    assert "(ContrastBolusVolume)" in str(with_contrast(series))


SCHEDULED, REQUESTED = Dataset(), Dataset()
SCHEDULED.ScheduledProcedureStepDescription = "CT, HEAD, W CONTRAST"
REQUESTED.RequestedProcedureDescription = "CTA"


@pytest.mark.parametrize(
    ("element", "value"),
    [
        ("ProtocolName", "CTA HEAD"),
        ("StudyDescription", "CT HEAD W CONTRAST"),
        ("StudyDescription", "CT HEAD W/WO"),
        ("StudyDescription", "CT HEAD W WO CONTRAST"),
        ("RequestedProcedureDescription", "Angio-CT"),
        ("PerformedProcedureStepDescription", "Head^03_Post_KM"),
        ("RequestAttributesSequence", [SCHEDULED]),
        ("RequestAttributesSequence", [REQUESTED]),
    ],
)
class TestAnExaminationWithContrast:
    def test_leaves_a_doubt_and_refuses_nothing(self, element: str, value: Any) -> None:
        series = series_with(**{element: value})
        assert with_contrast(series) is None
        told = contrast_doubt(series)
        assert told is not None
        assert "nothing says that this series was taken before it" in told

    @pytest.mark.parametrize(
        "plain", [{"SeriesDescription": "HEAD_W/O"}, {"ContrastBolusAgent": "NONE"}], ids=str
    )
    def test_leaves_no_doubt_of_a_series_that_says_it_is_plain(
        self, element: str, value: Any, plain: dict[str, str]
    ) -> None:
        assert contrast_doubt(series_with(**{element: value}, **plain)) is None


def test_the_doubt_names_no_text_of_the_file() -> None:
    told = contrast_doubt(series_with(StudyDescription="CTA head of DOE^JANE"))
    assert told is not None
    assert told.startswith("StudyDescription speaks of contrast")
    assert "DOE" not in told
