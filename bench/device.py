"""Setting up the machine's devices: the one module that imports TensorFlow itself."""

import contextlib
import logging
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

BFLOAT16_UNITS = "amx_bf16"
"""The CPU feature that makes bfloat16 pay: matrix units for it. Without them it is emulated, or hardly faster."""
BFLOAT16_CAPABILITY = (8, 0)
"""The first NVIDIA compute capability with tensor cores for bfloat16 (Ampere)."""


FIXED = {
    "KERAS_BACKEND": "tensorflow",
    "MPLBACKEND": "agg",  # figures go into files
    "RAY_USAGE_STATS_ENABLED": "0",  # its record would be written into the home folder, which may be read-only
}
"""What the libraries must be told by the environment, whatever the user's own says."""


def quiet() -> None:
    """Keep start-up chatter off the screen and a user's settings of the libraries out of the way.

    Takes effect for what is imported, and for processes that are started, afterwards.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.update(FIXED)
    for name in ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED"):
        os.environ.pop(name, None)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where its own folder cannot be written


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


def best_precision() -> str:
    """``bfloat16`` where this process's device has matrix units for it, else ``float32``."""
    import tensorflow as tf

    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    if gpus:
        capable = all(tuple(gpu.get("compute_capability") or (0, 0)) >= BFLOAT16_CAPABILITY for gpu in gpus)
        return "bfloat16" if capable else "float32"
    return best_cpu_precision()


def best_cpu_precision() -> str:
    """The same for this machine's CPU alone; loads no TensorFlow.

    Measured in docs/performance.md: with AMX every backbone gains.
    """
    return "bfloat16" if BFLOAT16_UNITS in _cpu_info("flags").split() else "float32"


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
