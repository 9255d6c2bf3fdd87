"""Imported in the fork server: what looking at a first image would import, all of it.

Not only for speed. Pillow takes a plugin that cannot be imported for one that is not installed, so
a worker that runs out of file handles would take every JPEG for something else than an image.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from lake_assets.media.formats import readable_formats
from lake_assets.media.inspect import perceptual_hash

readable_formats()
perceptual_hash(Image.fromarray(np.zeros((32, 32), np.uint8)))  # imagehash imports SciPy for it
