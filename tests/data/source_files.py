"""Small files of every kind that a source can be made of."""

import contextlib
import functools
import http.server
import io
import threading

import numpy as np
from PIL import Image


def pixels(seed, shape=(6, 5)):
    """uint8 pixels that no other seed has."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(values):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def write(root, names):
    """Images of the given names, each with pixels of its own."""
    for seed, name in enumerate(names):
        write_bytes(root / name, png(pixels(seed)))
    return root


def write_bytes(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def dicom(values, syntax=None, **elements):
    """A DICOM file of grey or RGB values; ``elements`` are added to its header, or taken out where None."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    values = np.asarray(values)
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
    file.Rows, file.Columns = values.shape[:2]
    file.SamplesPerPixel = 3 if values.ndim == 3 else 1
    if values.ndim == 3:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    file.PixelRepresentation = int(values.dtype.kind == "i")
    file.BitsAllocated = file.BitsStored = 8 * values.dtype.itemsize
    file.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    file["PixelData"].VR = "OB" if file.BitsAllocated == 8 else "OW"
    for name, value in elements.items():
        if value is None:
            del file[name]
        else:
            setattr(file, name, value)
    if "HighBit" not in elements and "BitsStored" in file:
        file.HighBit = file.BitsStored - 1
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@contextlib.contextmanager
def served(folder):
    """The address at which the files in ``folder`` are served over HTTP, and the paths asked for so far."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
