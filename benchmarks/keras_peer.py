"""A process that trains the originals' networks in Keras on TensorFlow; needs no PyTorch.

`fit` of Keras without its progress bar, on random images, channels last, with Adam; Pix2Pix by a compiled
step of its own (https://www.tensorflow.org/tutorials/generative/pix2pix).
"""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.protocol import serve


def lenet5(layers: Any, inputs: Any) -> Any:
    """LeNet-5 with maximum pooling."""
    x = inputs
    for width in (6, 16):
        x = layers.MaxPool2D()(layers.Conv2D(width, 5, activation="relu")(x))
    x = layers.Flatten()(x)
    for width in (120, 84):
        x = layers.Dense(width, activation="relu")(x)
    return layers.Dense(1, activation="sigmoid")(x)


def crater(layers: Any, inputs: Any) -> Any:
    """The crater network."""
    x = layers.MaxPool2D(3)(layers.Conv2D(16, 3, activation="relu")(inputs))
    x = layers.MaxPool2D(2)(layers.Conv2D(32, 3, activation="relu")(x))
    x = layers.Dense(8, activation="relu")(layers.Flatten()(x))
    return layers.Dense(1, activation="sigmoid")(layers.Dropout(0.5)(x))


def unet(layers: Any, inputs: Any) -> Any:
    """U-Net of depth 4 and 32 channels, ELU, dropout."""

    def pair(x: Any, width: int) -> Any:
        x = layers.Conv2D(width, 3, padding="same", activation="elu", kernel_initializer="he_normal")(x)
        x = layers.Dropout(0.18)(x)
        return layers.Conv2D(width, 3, padding="same", activation="elu", kernel_initializer="he_normal")(x)

    seen, x = [], inputs
    for level in range(5):
        x = pair(layers.MaxPool2D()(x) if level else x, 32 * 2**level)
        seen.append(x)
    for level in reversed(range(4)):
        x = layers.Conv2DTranspose(32 * 2**level, 2, strides=2)(x)
        x = pair(layers.Concatenate()([x, seen[level]]), 32 * 2**level)
    return layers.Conv2D(4, 1, activation="softmax")(x)


def generator(layers: Any, inputs: Any) -> Any:
    """Pix2Pix for 128 x 128 pixels, 7 steps down and up."""
    widths = [64, 128, 256, 512, 512, 512, 512]
    seen, x = [], inputs
    for level, width in enumerate(widths):
        norm = 0 < level < len(widths) - 1
        x = layers.Conv2D(width, 4, strides=2, padding="same", use_bias=not norm)(x)
        x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x) if norm else x)
        seen.append(x)
    for number, width in enumerate(widths[-2::-1]):
        x = layers.Conv2DTranspose(width, 4, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(layers.Dropout(0.5)(x) if number < 3 else x)
        x = layers.Concatenate()([x, seen[-2 - number]])
    return layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="sigmoid")(x)


def discriminator(layers: Any, inputs: Any) -> Any:
    """PatchGAN, 14 x 14 patches."""
    x = inputs
    for level, width in enumerate((64, 128, 256)):
        x = layers.Conv2D(width, 4, strides=2, padding="same", use_bias=level == 0)(x)
        x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x) if level else x)
    x = layers.Conv2D(512, 4, use_bias=False)(layers.ZeroPadding2D()(x))
    x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x))
    return layers.Conv2D(1, 4)(layers.ZeroPadding2D()(x))


NETWORKS = {"lenet5": lenet5, "crater_original": crater, "unet": unet, "pix2pix": generator}
"""By the workload's name."""


def prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Callable[[], float]]:
    """Build a network and random images.

    Args:
        options: ``workload``, ``shape`` (C, H, W), ``images``, ``batch``, ``threads``, ``policy`` (of precision).

    Returns:
        Versions, number of weights and images an epoch; a function that trains an epoch and returns its seconds.
    """
    import keras
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(options["threads"])
    keras.mixed_precision.set_global_policy(options["policy"])
    rng = np.random.default_rng(0)
    channels, height, width = options["shape"]
    name, images, batch = options["workload"], options["images"], options["batch"]
    inputs = keras.Input((height, width, channels))
    model = keras.Model(inputs, NETWORKS[name](keras.layers, inputs))
    image = rng.random((images, height, width, channels), np.float32)
    if name == "pix2pix":
        pair = keras.Input((height, width, 2 * channels))
        rival = keras.Model(pair, discriminator(keras.layers, pair))
        weights = [*model.trainable_weights, *rival.trainable_weights]
        train = _adversarial(tf, keras, model, rival, image, batch)
    else:
        weights = model.trainable_weights
        several = name == "unet"
        label = rng.integers(0, 4 if several else 2, image.shape[:3] if several else images)
        model.compile(
            "adam", "sparse_categorical_crossentropy" if several else "binary_crossentropy", metrics=["accuracy"]
        )
        train = _fit(keras, model, image, label, batch)
    count = sum(int(np.prod(weight.shape)) for weight in weights)
    about = {"parameters": count, "images": images, "tensorflow": tf.__version__, "keras": keras.__version__}
    return about, train


def _fit(keras: Any, model: Any, image: Any, label: Any, batch: int) -> Callable[[], float]:
    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.perf_counter() - self.began

    def train() -> float:
        clock = Clock()
        model.fit(image, label, batch_size=batch, verbose=0, callbacks=[clock])
        return float(clock.seconds)

    return train


def _adversarial(tf: Any, keras: Any, model: Any, rival: Any, image: Any, batch: int) -> Callable[[], float]:
    optimizers = keras.optimizers.Adam(1e-4, beta_1=0.5), keras.optimizers.Adam(1e-4, beta_1=0.5)
    for optimizer, net in zip(optimizers, (model, rival), strict=True):
        optimizer.build(net.trainable_variables)
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(given: Any, wanted: Any) -> None:
        with tf.GradientTape() as tape, tf.GradientTape() as other:
            made = tf.cast(model(given, training=True), given.dtype)
            real = rival(tf.concat([given, wanted], -1), training=True)
            fake = rival(tf.concat([given, made], -1), training=True)
            loss = cross_entropy(tf.ones_like(fake), fake) + 200 * tf.reduce_mean(tf.abs(made - wanted))
            opposed = cross_entropy(tf.ones_like(real), real) + cross_entropy(tf.zeros_like(fake), fake)
        optimizers[0].apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        optimizers[1].apply_gradients(
            zip(other.gradient(opposed, rival.trainable_variables), rival.trainable_variables, strict=True)
        )

    data = tf.data.Dataset.from_tensor_slices((image, image)).shuffle(len(image)).batch(batch)

    def train() -> float:
        began = time.perf_counter()
        for given, wanted in data:
            step(given, wanted)
        return time.perf_counter() - began

    return train


if __name__ == "__main__":
    serve(prepare)
