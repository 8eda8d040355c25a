"""The synthetic stand-in for CIFAR-10: ten drawn classes of 32×32 colour images, the same every time.

Colours, contrast, place and size are random and the figure is as often darker as lighter than its ground, so that a
linear classifier finds little to hold on to while a small convolutional net learns the shapes within minutes.
"""

import numpy as np

CLASSES = (
    "disc",
    "ring",
    "square",
    "triangle",
    "plus",
    "cross",
    "horizontal bars",
    "vertical bars",
    "diagonal bars",
    "checkerboard",
)
TRAIN_ITEMS, TEST_ITEMS = 6000, 500


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``n`` images, equally many of each class to within one; the same for the same seed.

    Returns:
        Images (n, 3, 32, 32) uint8 and labels (n,) int64, in random order.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % len(CLASSES))
    images = np.empty((n, 3, 32, 32), dtype=np.uint8)
    for start in range(0, n, 1000):
        part = slice(start, start + 1000)
        images[part] = _draw_part(labels[part], rng)
    return images, labels.astype(np.int64)


def _draw_part(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n = len(labels)

    def per_image(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    axis = np.arange(32, dtype=np.float32)
    radius = per_image(7, 11)
    x = (axis[None, None, :] - per_image(11, 21)) / radius  # the figure lives in [-1, 1]²
    y = (axis[None, :, None] - per_image(11, 21)) / radius
    phase, bars = per_image(0, 1), per_image(1.2, 1.8)

    inside = np.maximum(np.abs(x), np.abs(y)) < 1
    distance = np.hypot(x, y)
    stripes = [((u * bars + phase) % 1 < 0.5) & inside for u in (y, x, (x + y) / 1.4)]
    arm = 0.3
    masks = (
        distance < 1,
        (distance < 1) & (distance > 0.6),
        inside,
        (np.abs(x) < (y + 1) / 2) & (y < 1),
        inside & ((np.abs(x) < arm) | (np.abs(y) < arm)),
        inside & ((np.abs(x - y) < 1.4 * arm) | (np.abs(x + y) < 1.4 * arm)),
        *stripes,
        inside & (stripes[0] ^ stripes[1]),
    )
    mask = np.choose(labels[:, None, None], [np.broadcast_to(m, (n, 32, 32)) for m in masks])

    ground = rng.uniform(40, 215, (n, 3, 1, 1)).astype(np.float32)
    step = rng.uniform(25, 90, (n, 3, 1, 1)).astype(np.float32) * rng.choice([-1.0, 1.0], (n, 1, 1, 1))
    slope = (axis[None, None, :] - 16) * per_image(-1.5, 1.5) + (axis[None, :, None] - 16) * per_image(-1.5, 1.5)
    noise = rng.normal(0, 8, (n, 3, 32, 32)).astype(np.float32)
    return np.clip(ground + step * mask[:, None] + slope[:, None] + noise, 0, 255).astype(np.uint8)
