"""Training steps at less cost: Adam in one pass over a weight, and many small steps in one traced call."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from bench.device import apply_adam


def on_tensorflow() -> bool:
    """Whether Keras runs on TensorFlow."""
    return bool(keras.backend.backend() == "tensorflow")


class FusedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Keras's Adam, each weight updated by one operation where TensorFlow is the backend.

    Keras composes the update of some ten operations, each of which reads the weight from memory. The formula is the
    same (Kingma & Ba 2015, section 2, with the bias correction in the learning rate); rounding may differ.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update ``variable``, a weight, by its ``gradient``."""
        if not on_tensorflow() or keras.backend.standardize_dtype(variable.dtype) != "float32":
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        slots = (_resource(self._momentums[index]), _resource(self._velocities[index]))
        rates = (learning_rate, self.beta_1, self.beta_2, self.epsilon)
        apply_adam(_resource(variable), slots, gradient, rates, self.iterations + 1)


def _resource(variable: Any) -> Any:
    """The backend's variable behind a Keras one."""
    return variable.value if isinstance(variable, keras.Variable) else variable


class SteppedModel(keras.Model):  # type: ignore[misc]
    """A model that `train_steps` trains several steps a call; call, save and predict are those of keras.Model."""

    def train_step(self, *arguments: Any) -> Any:
        """Several steps on TensorFlow, whose variables may change within a loop; one step elsewhere."""
        if not on_tensorflow():
            return super().train_step(*arguments)
        inputs, targets, weights, count = arguments[0]
        step = super().train_step

        def one(number: Any, total: Any) -> Any:
            self.reset_metrics()
            own = keras.ops.cast(keras.ops.count_nonzero(weights[number]), "float32")
            logs = step((inputs[number], targets[number], weights[number]))
            return total + own * keras.ops.cast(logs["loss"], "float32")

        total = keras.ops.fori_loop(0, count, one, keras.ops.convert_to_tensor(0.0, "float32"))
        return {"loss": total}


def train_steps(model: Any, inputs: Any, targets: Any, weights: Any, count: int) -> float:
    """Make ``count`` training steps; returns the sum of the losses of all images whose weight is not 0.

    Args:
        model: compiled; a `SteppedModel` makes all steps in one call.
        inputs: array of shape (n_steps, batch, ...); only the first ``count`` batches are used. Calls of one
            ``n_steps`` share one traced function.
        targets: of shape (n_steps, batch, n_classes).
        weights: of shape (n_steps, batch); images of weight 0 fill up a short batch.
        count: number of steps.
    """
    if isinstance(model, SteppedModel) and on_tensorflow():
        model.make_train_function()

        def steps() -> Iterator[Any]:
            yield inputs, targets, weights, np.asarray(count, np.int32)

        return float(model.train_function(steps())["loss"])
    total = 0.0
    for number in range(count):
        own = int((weights[number] != 0).sum())
        logs = model.train_on_batch(inputs[number], targets[number], sample_weight=weights[number], return_dict=True)
        total += own * float(logs["loss"])
    return total
