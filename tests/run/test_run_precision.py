"""What a run computes in: as the user says, as measured, and in a resumed run as it began."""

from types import SimpleNamespace
from typing import Any

import pytest

from bench.run import pipeline
from bench.run.record import PrecisionRecord, RunRecord
from bench.train.task import Precision

MEASURED = {"toy": PrecisionRecord(prefix="bfloat16", measured={"prefix": {"float32": 2.0, "bfloat16": 1.0}})}


@pytest.mark.parametrize(
    ("setting", "begun", "expected", "written"),
    [
        ("auto", None, Precision("bfloat16", "float32"), True),
        ("float32", None, Precision("float32", "float32"), True),
        ("bfloat16", None, Precision("bfloat16", "bfloat16"), True),
        ("auto", {"toy": PrecisionRecord(suffix="bfloat16")}, Precision("float32", "bfloat16"), False),
        ("auto", "bfloat16", Precision("bfloat16", "bfloat16"), True),  # by an earlier version
    ],
)
def test_a_run_computes_in_what_was_chosen_once(
    monkeypatch: pytest.MonkeyPatch, setting: str, begun: Any, expected: Precision, written: bool
) -> None:
    monkeypatch.setattr(pipeline, "_measured", lambda run, workers, task: MEASURED)
    kept: dict[str, Any] = {}
    request: Any = SimpleNamespace(
        settings=SimpleNamespace(precision=setting), run=SimpleNamespace(update=lambda **found: kept.update(found))
    )
    task: Any = SimpleNamespace(architectures={"toy": None})
    record = RunRecord(precision=begun)
    assert pipeline._precision(request, None, record, task) == {"toy": expected}  # type: ignore[arg-type]
    assert bool(kept) == written
    if written:
        assert {name: (one.prefix, one.suffix) for name, one in kept["precision"].items()} == {"toy": expected}


def test_all_backbones_are_measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import toys

    tasks: list[Any] = []

    def measured(task: Any) -> dict[str, PrecisionRecord]:
        tasks.append(task)
        (name,) = task.backbones
        return {name: PrecisionRecord(prefix="bfloat16" if name == "toy2" else "float32")}

    monkeypatch.setattr(pipeline, "measure", measured)
    monkeypatch.setattr(pipeline.cluster, "run_jobs", toys.jobs_here)
    monkeypatch.setattr(pipeline, "replace", lambda task, backbones: SimpleNamespace(backbones=backbones))
    spent: list[str] = []
    run: Any = SimpleNamespace(spend=lambda stage, seconds: spent.append(stage))
    task: Any = SimpleNamespace(architectures={name: toys.toy_backbone(name) for name in ("toy", "toy2")})
    found = pipeline._measured(run, None, task)  # type: ignore[arg-type]
    assert {name: one.prefix for name, one in found.items()} == {"toy": "float32", "toy2": "bfloat16"}
    assert list(found) == ["toy", "toy2"] and len(tasks) == 2
    assert spent == ["start"], "it counts in where the time went"
