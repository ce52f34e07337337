"""The items of CLAIM 2024 and TRIPOD+AI, in this suite's own words, and which of its answers fits which item.

Item numbers are those of the guidelines:
CLAIM 2024 Update, Tejani et al., Radiology: Artificial Intelligence 2024, doi 10.1148/ryai.240300;
TRIPOD+AI, Collins et al., BMJ 2024;385:e078378, doi 10.1136/bmj-2023-078378.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.report.page import Page
from bench.report.sections import answers_data as d
from bench.report.sections import answers_model as m
from bench.report.sections import answers_tested as t


@dataclass(frozen=True)
class Item:
    """One item of a guideline.

    Attributes:
        number: as in the guideline: ``12``, ``23a``.
        topic: in a few words of our own.
        answer: what the run's files say to it, empty where they say nothing; None for what no run can know.
        section: anchor of the section of the report that says more.
        left: what remains for the author where the run answers a part of the item.
    """

    number: str
    topic: str
    answer: Callable[[Page], str] | None = None
    section: str = ""
    left: str = ""


@dataclass(frozen=True)
class Guideline:
    """A guideline with its source and its items in order."""

    name: str
    source: str
    items: tuple[Item, ...]


CLAIM = Guideline(
    "CLAIM 2024",
    "Tejani et al., Radiology: Artificial Intelligence 2024, doi 10.1148/ryai.240300",
    (
        Item("1", "Title or abstract names the kind of AI"),
        Item("2", "Abstract: design, methods, results, conclusions"),
        Item("3", "Background, intended use and role"),
        Item("4", "Aims and hypotheses", m.asked, "summary", "hypotheses and the clinical aim"),
        Item("5", "Prospective or retrospective"),
        Item("6", "Goal of the study", m.goal, "search", "the clinical goal"),
        Item("7", "Sources of the data", d.source, "data", "where, when and from whom the images come; licence"),
        Item("8", "Inclusion and exclusion", d.excluded, "data", "clinical criteria"),
        Item("9", "Preprocessing", m.preprocessing, "provenance"),
        Item("10", "Choice of subsets", d.subset, "data"),
        Item("11", "De-identification"),
        Item("12", "Missing data", d.missing_values, "data"),
        Item("13", "Image acquisition"),
        Item("14", "How the reference standard was obtained"),
        Item("15", "Why this reference standard"),
        Item("16", "Who annotated the reference standard"),
        Item("17", "Annotation of the test split"),
        Item("18", "Variability within and between annotators"),
        Item("19", "Assignment to splits", d.assignment, "data"),
        Item("20", "Level at which splits are disjoint", d.disjoint, "data"),
        Item("21", "Intended size of the test split", t.size, "data", "how that size was decided on"),
        Item("22", "The model in detail", m.architecture, "provenance"),
        Item("23", "Software", m.software, "provenance"),
        Item("24", "Initialisation", m.weights, "provenance"),
        Item("25", "Training", m.training, "search"),
        Item("26", "Selection of the final model", m.selection, "comparison"),
        Item("27", "Ensembles", m.ensemble, "winner"),
        Item("28", "Measures of performance", t.measures, "winner", "why these suit the clinical question"),
        Item("29", "Uncertainty and significance", t.interval_kind, "comparison"),
        Item("30", "Robustness or sensitivity analysis", t.robustness, "failures"),
        Item("31", "Explanation of predictions", t.explaining, "failures"),
        Item("32", "Evaluation on internal data", t.internal, "winner"),
        Item("33", "Testing on external data"),
        Item("34", "Registration of a clinical trial"),
        Item("35", "Numbers included and excluded", d.flow, "data"),
        Item("36", "Characteristics of each split", d.sizes, "data", "demographic and clinical characteristics"),
        Item("37", "Performance with uncertainty", t.performance, "winner"),
        Item("38", "Diagnostic performance and its precision", t.diagnostic, "winner"),
        Item("39", "Analysis of failures", t.errors, "failures"),
        Item("40", "Limitations", t.limits, "summary", "limitations of the study itself"),
        Item("41", "Implications for practice"),
        Item("42", "Protocol or further technical details", m.reproduction, "provenance", "the study protocol"),
        Item("43", "Availability of software, model, data", m.availability, "provenance", "where others can get them"),
        Item("44", "Funding and role of the funders"),
    ),
)

TRIPOD = Guideline(
    "TRIPOD+AI",
    "Collins et al., BMJ 2024;385:e078378, doi 10.1136/bmj-2023-078378",
    (
        Item("1", "Title"),
        Item("2", "Abstract"),
        Item("3a", "Healthcare context and rationale"),
        Item("3b", "Target population, purpose and users"),
        Item("3c", "Known health inequalities"),
        Item("4", "Objectives", m.asked, "summary", "the clinical objective"),
        Item("5a", "Sources of the data", d.source, "data", "why these data, and whom they represent"),
        Item("5b", "Dates of the data"),
        Item("6a", "Setting and centres"),
        Item("6b", "Eligibility", d.excluded, "data", "clinical criteria"),
        Item("6c", "Treatments"),
        Item(
            "7", "Data preparation and checks", m.preprocessing, "data", "whether it was alike in all groups of people"
        ),
        Item("8a", "Outcome", d.outcome, "data", "how and when it was determined, and why this outcome"),
        Item("8b", "Who judged the outcome"),
        Item("8c", "Blinding of the outcome"),
        Item("9a", "Choice of predictors", m.predictors, "provenance"),
        Item("9b", "Definition of predictors", m.preprocessing, "provenance", "how the images were acquired"),
        Item("9c", "Who judged the predictors"),
        Item("10", "Sample size", d.sizes, "data", "why that is enough"),
        Item("11", "Missing data", d.missing_values, "data"),
        Item("12a", "How the data were partitioned", d.assignment, "data"),
        Item("12b", "How predictors were rescaled", m.preprocessing, "provenance"),
        Item("12c", "Model, tuning and internal validation", m.tuning, "search"),
        Item("12d", "Heterogeneity between clusters"),
        Item("12e", "Measures of performance", t.measures, "winner", "why these suit the clinical question"),
        Item("12f", "Model updating, methods", t.updating, "winner"),
        Item("12g", "How predictions were computed", t.computing, "provenance"),
        Item("13", "Class imbalance", m.imbalance, "data"),
        Item("14", "Fairness"),
        Item("15", "Output and threshold", t.output, "winner"),
        Item("16", "Development against evaluation data", d.shares, "data", "differences in setting and eligibility"),
        Item("17", "Ethical approval and consent"),
        Item("18a", "Funding"),
        Item("18b", "Conflicts of interest"),
        Item("18c", "Protocol"),
        Item("18d", "Registration"),
        Item("18e", "Availability of the data"),
        Item("18f", "Availability of the code", m.reproduction, "provenance", "where others can get it"),
        Item("19", "Involvement of patients and the public"),
        Item("20a", "Flow of participants", d.flow, "data", "a flow diagram of the patients"),
        Item("20b", "Characteristics", d.sizes, "data", "demographic and clinical characteristics"),
        Item("20c", "Development and evaluation compared", d.shares, "data", "demographic characteristics"),
        Item("21", "Numbers in each analysis", d.sizes, "data"),
        Item("22", "The full model", m.availability, "provenance", "restrictions on its use"),
        Item("23a", "Performance with intervals and subgroups", t.with_subgroups, "winner"),
        Item("23b", "Heterogeneity of performance"),
        Item("24", "Model updating, results", t.calibration, "winner"),
        Item("25", "Interpretation"),
        Item("26", "Limitations", t.limits, "summary", "limitations of the study itself"),
        Item("27a", "Poor or missing input in use"),
        Item("27b", "Interaction and expertise of users"),
        Item("27c", "Next steps"),
    ),
)
