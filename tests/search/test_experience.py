"""What is recorded of recipes, and that it decides which of them is tried first."""

from pathlib import Path

import pandas as pd
import pytest

from bench.models.backbones import BACKBONES, get_backbone
from bench.search import experience
from bench.search.experience import OUTCOMES, best_first, recorded
from bench.search.plan import make_plan
from bench.search.space import load_space
from bench.trial import TrialConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def outcomes() -> pd.DataFrame:
    return pd.read_csv(OUTCOMES)


def test_every_row_is_a_training_of_a_configuration_that_there_is(outcomes: pd.DataFrame) -> None:
    for _, row in outcomes.iterrows():
        config = TrialConfig.from_row({str(name): value for name, value in row.items()})
        assert config.backbone in BACKBONES
    for name in ("auc_validation", "auc_test", "accuracy_test"):
        assert outcomes[name].between(0.5, 1).all()
    assert not outcomes.duplicated([one for one in outcomes if not one.startswith(("auc", "accuracy", "best"))]).any()


def test_the_documentation_tells_what_is_recorded(outcomes: pd.DataFrame) -> None:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for (backbone, recipe), rows in outcomes.groupby(["config_backbone", "recipe"]):
        scores = "".join(f" {rows[name].mean():.3f} |" for name in ("auc_validation", "auc_test", "accuracy_test"))
        title = BACKBONES[str(backbone)].title
        assert f"| {title} | {recipe} | {len(rows)} |{scores}" in text, (backbone, recipe, scores)


def test_the_default_recipe_is_the_best_that_is_recorded(outcomes: pd.DataFrame) -> None:
    for backbone in set(outcomes["config_backbone"]):
        recipe = TrialConfig.from_mapping(load_space("default", [backbone]).recipe(get_backbone(backbone)))
        own = outcomes[outcomes["config_backbone"] == backbone]
        keys = {
            TrialConfig.from_row({str(name): value for name, value in row.items()}).key for _, row in own.iterrows()
        }
        assert recorded()[recipe.key] == max(recorded()[key] for key in keys)


def test_what_reached_most_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    space = load_space("default")
    rows = [get_backbone(name) for name in space.backbones]
    recipes = {row.name: space.recipe(row) for row in rows}
    keys = {name: TrialConfig.from_mapping(values).key for name, values in recipes.items()}
    monkeypatch.setattr(experience, "recorded", lambda: {keys["inceptionv3"]: 0.99, keys["resnet50"]: 0.9})
    assert [values["backbone"] for values in best_first(list(recipes.values()))] == ["inceptionv3", "resnet50", "vgg16"]
    first = [item.values["backbone"] for item in make_plan(space, rows, budget=20).items if item.origin == "recipe"]
    assert first == ["inceptionv3", "resnet50", "vgg16"]
    left_out = make_plan(space, rows, budget=1).notes[0]
    assert "resnet50" in left_out and "vgg16" in left_out and "inceptionv3" not in left_out
    monkeypatch.setattr(experience, "recorded", dict)
    assert [values["backbone"] for values in best_first(list(recipes.values()))] == list(recipes)
