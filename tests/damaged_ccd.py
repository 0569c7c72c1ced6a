"""Images of a CCD in every form that is read; see `damaged_kinds`."""

from pathlib import Path

import numpy as np

SEED = 5


def ccd(save, ending):
    """A `make`: images of a CCD, saved in one way or several, and masks in class numbers and colours."""
    from lit_hep.tasks.ccd.masks import colour

    def make():
        rng = np.random.default_rng(SEED)
        for folder in ("images", "masks"):
            Path("data", folder).mkdir(parents=True)
        for number in range(6):
            mask = (rng.random((24, 28)) < 0.2).astype(np.uint8) * 3
            value = np.clip(rng.normal(90, 5, mask.shape) + 40 * mask, 0, 255)
            save(Path(f"data/images/{number}{ending}"), value, number)
            if ending == ".png":
                from PIL import Image

                Image.fromarray(colour(mask) if number % 2 else mask).save(f"data/masks/{number}.png")
            else:
                np.save(f"data/masks/{number}.npy", mask)

    return make


def png(mode):
    """A `save` of `ccd`: PNG of a mode of Pillow, or RGB of 16 bits."""
    from PIL import Image

    def save(path, value, number):
        if mode == "RGB;16":
            import cv2

            cv2.imwrite(str(path), np.repeat(value[..., None] * 200, 3, axis=2).astype(np.uint16))
        elif mode == "I;16":
            Image.fromarray((value * 200).astype(np.uint16)).save(path)
        else:
            Image.fromarray(value.astype(np.uint8)).convert(mode).save(path)

    return save


def npy(path, value, number):
    """A `save` of `ccd`: arrays of several types."""
    np.save(path, value.astype((np.float32, np.uint8, ">i2")[number % 3]))


def tiff(path, value, number):
    """A `save` of `ccd`: whole numbers and fractions, packed in several ways."""
    from PIL import Image

    packed = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "raw", "tiff_lzw")[number]
    kind = (np.uint8, np.uint16, np.float32)[number % 3]
    Image.fromarray(value.astype(kind)).save(path, compression=packed)


def fits(path, value, number):
    """A `save` of `ccd`: whole numbers and fractions, with a zero point, compressed in several ways."""
    from astropy.io import fits

    value = value.astype((np.float32, np.uint16, np.int32)[number % 3])
    if number < 3:
        fits.writeto(path, value)
    else:
        packed = ("RICE_1", "GZIP_2", "HCOMPRESS_1")[number - 3]
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(value, compression_type=packed)]).writeto(path)


def stacks():
    """Images and masks of one file each."""
    rng = np.random.default_rng(SEED)
    Path("data").mkdir()
    np.save("data/images.npy", rng.normal(9000, 50, (6, 24, 28)).astype(np.float32))
    np.save("data/masks.npy", rng.integers(0, 4, (6, 24, 28)).astype(np.uint8))
