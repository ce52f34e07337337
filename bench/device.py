"""Setting up the machine's devices: the one module that imports TensorFlow itself."""

import contextlib
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")
"""CPU features that compute in bfloat16; without one it is emulated."""
FIXED = {
    "KERAS_BACKEND": "tensorflow",
    "MPLBACKEND": "agg",  # figures go into files
    "RAY_USAGE_STATS_ENABLED": "0",  # its record would be written into the home folder, which may be read-only
}
"""What the libraries must be told by the environment, whatever the user's own says."""


def quiet() -> None:
    """Keep start-up chatter off the screen and a user's settings of the libraries out of the way.

    Takes effect for what is imported, and for processes that are started, afterwards. In a notebook, figures go on
    being shown as its user wants them.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("GLOG_minloglevel", "3")
    notebook = "ipykernel" in sys.modules and "MPLBACKEND" in os.environ
    os.environ.update({name: value for name, value in FIXED.items() if not (notebook and name == "MPLBACKEND")})
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED"):
        os.environ.pop(name, None)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where its own folder cannot be written


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Nothing that is written to standard error in the block is seen: TensorFlow's libraries greet there when loaded.

    What goes wrong is raised, and so is not lost.
    """
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # there is no standard error
        yield
        return
    sys.stderr.flush()
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def plain_keras() -> Any:
    """Keras on TensorFlow, with its own defaults in place of those of a keras.json."""
    quiet()
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
    return keras


def cpu_cores() -> int:
    """CPU cores that this process may use: of its affinity, its control group, and SLURM's share of the machine."""
    import joblib

    given = (os.environ.get(name, "") for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"))
    share = next((int(count) for count in given if count.isdecimal()), 0)
    cores = int(joblib.cpu_count())
    return min(cores, share) if share else cores


def memory_bytes() -> int:
    """Main memory that this process may use: the machine's, or what its control group is limited to."""
    import psutil

    total = int(psutil.virtual_memory().total)
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # "max" is no limit
            total = min(total, int(Path(name).read_text(encoding="utf-8")))
    return total


def processor() -> str:
    """The CPU's model name, else its architecture."""
    return _cpu_info("model name") or platform.machine()


def _cpu_info(name: str) -> str:
    """What Linux says of the first CPU under ``name``; empty where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def gpus() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip() not in ("", "-1")]
    return [line.removeprefix("GPU ").partition(":")[0] for line in listed_gpus()]


def listed_gpus() -> tuple[str, ...]:
    """``GPU 0: NVIDIA H200`` for each GPU of the machine."""
    if shutil.which("nvidia-smi") is None:
        return ()
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return tuple(line.split(" (UUID")[0] for line in listed.splitlines() if line.startswith("GPU"))


def set_up(threads: int | None) -> None:
    """Limit this process to ``threads`` CPU threads and let GPU memory grow as needed; call before the first model.

    Does nothing the second time.
    """
    plain_keras()
    import tensorflow as tf

    try:
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 2)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.experimental.enable_op_determinism()
        # scores must be those of the exported file on any machine; TensorFloat-32 keeps 10 bits of a mantissa
        tf.config.experimental.enable_tensor_float_32_execution(False)
    except RuntimeError:  # devices are in use already: set up before
        return


def bfloat16_units() -> tuple[str, ...]:
    """The features by which this machine's CPU computes in bfloat16; empty where it only emulates it."""
    flags = _cpu_info("flags").split()
    return tuple(name for name in BFLOAT16_FLAGS if name in flags)


def identity() -> dict[str, Any]:
    """What decides how fast a network computes here: processor, cores, number of GPUs, and versions."""
    found = {"processor": processor(), "cores": cpu_cores(), "gpus": len(gpus())}
    return {**found, **{name: version(name) for name in ("keras", "tensorflow")}}


def graph_step(model: Any, inputs: Any, targets: Any | None = None) -> Callable[[], Any]:
    """One pass of ``inputs`` through a Keras model or, with ``targets``, one training step, as a traced function.

    For timing kernels: the graph is not rewritten, which would take longer than the steps, and the descent, of rate 0,
    only passes over the weights as an optimizer does. The first call traces.

    Args:
        model: takes ``inputs``; ends in probabilities.
        inputs: array of shape (n, ...).
        targets: of shape (n, n_classes); None for a pass without training.
    """
    import tensorflow as tf
    from keras import losses

    variables = [variable.value for variable in model.trainable_variables]
    values, wanted = tf.constant(inputs), None if targets is None else tf.constant(targets)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step() -> Any:
        if wanted is None:
            return tf.reduce_sum(model(values, training=False))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.categorical_crossentropy(wanted, model(values, training=True)))
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=0.0, delta=gradient)
        return loss

    return lambda: step().numpy()  # waits for the device


@contextlib.contextmanager
def unoptimised_graphs() -> Iterator[None]:
    """What is traced in the block is computed as it is written."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def apply_adam(
    variable: Any, slots: tuple[Any, Any], gradient: Any, rates: tuple[Any, Any, Any, Any], step: Any
) -> None:
    """One Adam step on a TensorFlow variable by TensorFlow's own fused operation, which passes over it once.

    Args:
        variable: float32 tf.Variable.
        slots: its first and second moment, likewise.
        gradient: of its shape.
        rates: learning rate, beta 1, beta 2, epsilon.
        step: number of this step, counted from 1.
    """
    import tensorflow as tf

    learning_rate, beta_1, beta_2, epsilon = (tf.cast(rate, tf.float32) for rate in rates)
    step = tf.cast(step, tf.float32)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=slots[0].handle,
        v=slots[1].handle,
        beta1_power=tf.pow(beta_1, step),
        beta2_power=tf.pow(beta_2, step),
        lr=learning_rate,
        beta1=beta_1,
        beta2=beta_2,
        epsilon=epsilon,
        grad=tf.cast(gradient, tf.float32),
    )
