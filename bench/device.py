"""Setting up the machine's devices: the one module that imports TensorFlow itself."""

import os


def quiet() -> None:
    """Keep TensorFlow's start-up chatter off the screen; takes effect if called before Keras is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("GLOG_minloglevel", "3")


def set_up(threads: int | None) -> None:
    """Limit this process to ``threads`` CPU threads and let GPU memory grow as needed; call before the first model.

    Does nothing under another Keras backend, and nothing the second time.
    """
    quiet()
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
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
