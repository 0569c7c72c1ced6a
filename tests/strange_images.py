"""Files with endings of images that hold none, or none of a CCD."""

import numpy as np
from astropy.io import fits
from PIL import Image

PIXELS = np.full((24, 24), 8800, np.float32)


def palette(path):
    """A picture whose values are numbers of colours."""
    Image.fromarray(PIXELS.astype(np.uint8)).convert("P").save(path)


def no_pixels(path):
    """A FITS file with a header alone."""
    fits.PrimaryHDU().writeto(path)


def cut_short(path):
    """A FITS file whose end is missing."""
    fits.writeto(path, PIXELS)
    path.write_bytes(path.read_bytes()[:3000])


def with_nan(path):
    """A FITS file with a pixel that is no number."""
    fits.writeto(path, np.where(np.arange(24) == 3, np.nan, PIXELS))


def pages(path):
    """A TIFF file of two pictures."""
    picture = Image.fromarray(PIXELS)
    picture.save(path, save_all=True, append_images=[picture])
