"""Training steps at less cost: Adam in one pass over a weight, and many small steps in one traced call."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from bench.device import apply_adam


def on_tensorflow() -> bool:
    """Whether Keras runs on TensorFlow."""
    return bool(keras.backend.backend() == "tensorflow")


class Moments:
    """The moments that Adam keeps of each weight, for optimizers that train the same weights in turn."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], tuple[Any, Any]] = {}

    def get(self, weight: Any, name: str) -> Any | None:
        """The moment ``name`` of ``weight``, if an optimizer has created it."""
        return self._kept.get((id(weight), name), (None, None))[1]

    def keep(self, weight: Any, name: str, moment: Any) -> None:
        """Keep ``moment`` for the others; ``weight`` is kept too, so that its id stays its own."""
        self._kept[id(weight), name] = (weight, moment)


class FusedAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Keras's Adam, each weight updated by one operation where TensorFlow is the backend.

    Keras composes the update of some ten operations, each of which reads the weight from memory. The formula is the
    same (Kingma & Ba 2015, section 2, with the bias correction in the learning rate); rounding may differ.

    Args:
        learning_rate: as in Keras.
        moments: shared with other optimizers, each of which must start from zeros; None shares nothing.
    """

    def __init__(self, learning_rate: float = 0.001, moments: Moments | None = None) -> None:
        super().__init__(learning_rate)
        self._moments = moments

    def add_variable_from_reference(self, reference_variable: Any, name: str, initializer: str = "zeros") -> Any:
        """A moment of a weight: another optimizer's, if they share."""
        shared = self._moments.get(reference_variable, name) if self._moments else None
        if shared is not None:
            self._track_variable(shared)
            return shared
        moment = super().add_variable_from_reference(reference_variable, name, initializer)
        if self._moments:
            self._moments.keep(reference_variable, name, moment)
        return moment

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update ``variable``, a weight, by its ``gradient``."""
        if not on_tensorflow() or keras.backend.standardize_dtype(variable.dtype) != "float32":
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        slots = (_resource(self._momentums[index]), _resource(self._velocities[index]))
        rates = (learning_rate, self.beta_1, self.beta_2, self.epsilon)
        apply_adam(_resource(variable), slots, gradient, rates, self.iterations + 1)


def restart(model: Any, ema_momentum: float = 0.0, **settings: float) -> None:
    """The optimizer of ``model`` as new: moments and step count of zero; each step brings its learning rate.

    With an ``ema_momentum`` above 0 it keeps, beside each weight, the exponential moving average that Keras's
    ``use_ema`` keeps; `keras.callbacks.SwapEMAWeights` puts that in the weight's place. Once a model has averages it
    keeps them, of momentum 0 where none are wanted: one more pass over its weights a step, but no other trace.

    Whatever a traced step reads as a Python number is part of it, and another number would trace it anew. So further
    settings of Keras's optimizers (``weight_decay``, say) become variables when they are first not 0; then alone is
    the step traced once more, and trials that leave them at 0 never pay for them.
    """
    optimizer = model.optimizer
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    if ema_momentum and not optimizer.use_ema:
        optimizer.use_ema, optimizer.ema_overwrite_frequency = True, None
        optimizer.ema_momentum = keras.Variable(ema_momentum, name="ema_momentum")
        averages = optimizer.add_optimizer_variables(model.trainable_variables, "average")
        optimizer._model_variables_moving_average = averages  # as Optimizer.build does
        model.make_train_function(force=True)
    for variable in optimizer.variables:  # averages too: shared ones may hold what another training left, a NaN, say
        variable.assign(keras.ops.zeros_like(variable))
    if optimizer.use_ema:
        optimizer.ema_momentum.assign(ema_momentum)
    for name, value in settings.items():
        if getattr(optimizer, name) is not None:
            getattr(optimizer, name).assign(value)
        elif value:
            setattr(optimizer, name, keras.Variable(value, name=name))
            model.make_train_function(force=True)


def _resource(variable: Any) -> Any:
    """The backend's variable behind a Keras one."""
    return variable.value if isinstance(variable, keras.Variable) else variable


class SteppedModel(keras.Model):  # type: ignore[misc]
    """A model that `train_steps` trains several steps a call; call, save and predict are those of keras.Model.

    A step on pooled features takes tens of microseconds, the call of a traced function from Python some hundreds: so
    the loop over the steps is inside the traced function. It calls Keras's own ``train_step``, so that loss, weights
    of images and optimizer are Keras's.
    """

    def train_step(self, *arguments: Any) -> Any:
        """Several steps on TensorFlow, whose variables may change within a loop; one step elsewhere."""
        # with other backends weights are values that a step takes and returns, which a loop would have to carry
        if not on_tensorflow():
            return super().train_step(*arguments)
        inputs, targets, weights, rates, count = arguments[0]
        step = super().train_step

        def one(number: Any, total: Any) -> Any:
            self.optimizer.learning_rate = rates[number]
            self.reset_metrics()  # else Keras's loss is the running mean over the steps of the call
            own = keras.ops.cast(keras.ops.count_nonzero(weights[number]), "float32")
            logs = step((inputs[number], targets[number], weights[number]))
            return total + own * keras.ops.cast(logs["loss"], "float32")

        total = keras.ops.fori_loop(0, count, one, keras.ops.convert_to_tensor(0.0, "float32"))
        return {"loss": total}


def train_steps(model: Any, inputs: Any, targets: Any, weights: Any, rates: Any, count: int) -> float:
    """Make ``count`` training steps; returns the sum of the losses of all images whose weight is not 0.

    Args:
        model: compiled; a `SteppedModel` makes all steps in one call.
        inputs: array of shape (n_steps, batch, ...); only the first ``count`` batches are used. Calls of one
            ``n_steps`` share one traced function.
        targets: of shape (n_steps, batch, n_classes).
        weights: of shape (n_steps, batch); images of weight 0 fill up a short batch.
        rates: the learning rate of each step, of shape (n_steps,).
        count: number of steps.
    """
    if isinstance(model, SteppedModel) and on_tensorflow():
        model.make_train_function()

        def steps() -> Iterator[Any]:
            yield inputs, targets, weights, rates, np.asarray(count, np.int32)

        return float(model.train_function(steps())["loss"])
    total = 0.0
    for number in range(count):
        model.optimizer.learning_rate = float(rates[number])
        own = int((weights[number] != 0).sum())
        logs = model.train_on_batch(inputs[number], targets[number], sample_weight=weights[number], return_dict=True)
        total += own * float(logs["loss"])
    return total
