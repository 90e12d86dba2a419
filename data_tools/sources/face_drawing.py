"""Cartoon faces: an image from an emotion, a style and a generator.

An image is drawn from back to front in *face units*: the centre of the head is (0, 0), its edge lies near 1, x points
right and y down. `Pose` maps these units to a canvas three times the final size; reducing it smooths the edges. An
emotion changes only brows, eyes, nose and mouth (`EMOTIONS`). All other features (pose, head, hair, glasses, light,
noise) are independent of the class.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

SIZE = 48
OVERSAMPLING = 3
CANVAS = SIZE * OVERSAMPLING
RAMP = np.linspace(-1, 1, SIZE)
DRAWING_VERSION = 1  # raise it when a change to this file changes the images, so that older packs are written again

Range = tuple[float, float]


# --- Random numbers -----------------------------------------------------------------------------------------------
# A generator's own `uniform`, `integers` and `choice` take several times as long for a single number.


def between(rng: Generator, low: float, high: float) -> float:
    """A number from `low` up to `high`."""
    return low + (high - low) * rng.random()


def either_side(rng: Generator) -> float:
    """-1 or 1."""
    return -1.0 if rng.random() < 0.5 else 1.0


# --- Emotions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expression:
    """The features of a cartoon face that express an emotion, in face units. The defaults are a neutral face."""

    brow_raise: float = 0.0  # upwards; negative presses the brows onto the eyes
    brow_tilt: float = 0.0  # positive pulls the inner ends down (a scowl), negative up (worry)
    brow_arch: float = 0.06
    eye_open: float = 0.19  # half the height of an eye
    eye_smile: float = 0.0  # above 0.5 the eye closes into an upward arc
    lid_slant: float = 0.0  # upper lid: positive low at the nose (anger), negative low at the temple (sorrow)
    lid_droop: float = 0.0  # fraction of the upper half that the lid covers
    squint: float = 0.0  # fraction of the lower half that the lower lid covers
    pupil: float = 0.095
    nose_wrinkle: float = 0.0
    mouth_curve: float = 0.0  # positive smiles
    mouth_open: float = 0.0  # half the height of the opening; below 0.05 the lips are closed
    mouth_width: float = 0.34
    mouth_skew: float = 0.0  # one corner up, the other down
    mouth_wave: float = 0.0  # trembling lips
    teeth: float = 0.0  # above 0.5 the teeth are clenched
    tongue: float = 0.0  # above 0.5 the tongue is out
    tear: float = 0.0  # above 0.5 there is one


# The mild and the strong extreme of each emotion. Each value of a face lies between the two.
EMOTIONS: dict[str, tuple[Expression, Expression]] = {
    "angry": (
        Expression(brow_raise=-0.02, brow_tilt=0.18, brow_arch=0.0, eye_open=0.17, lid_slant=0.3, squint=0.0,
                   mouth_curve=-0.06, mouth_open=-0.10, mouth_width=0.28, teeth=0.3),
        Expression(brow_raise=-0.08, brow_tilt=0.28, brow_arch=-0.03, eye_open=0.22, lid_slant=0.65, squint=0.2,
                   mouth_curve=-0.17, mouth_open=0.19, mouth_width=0.46, teeth=1.0),
    ),
    "disgust": (
        Expression(brow_raise=-0.06, brow_tilt=-0.04, brow_arch=-0.01, eye_open=0.17, lid_droop=0.5, squint=0.6,
                   nose_wrinkle=0.7, mouth_curve=-0.04, mouth_open=-0.02, mouth_width=0.34, mouth_skew=0.08,
                   tongue=0.35),
        Expression(brow_raise=-0.11, brow_tilt=0.06, brow_arch=0.03, eye_open=0.20, lid_droop=0.7, squint=0.85,
                   nose_wrinkle=1.0, mouth_curve=-0.13, mouth_open=0.10, mouth_width=0.46, mouth_skew=0.15,
                   tongue=1.0),
    ),
    "fear": (
        Expression(brow_raise=0.08, brow_tilt=-0.14, brow_arch=0.02, eye_open=0.27, pupil=0.05, mouth_curve=-0.05,
                   mouth_open=0.08, mouth_width=0.36, mouth_wave=0.02, teeth=0.0),
        Expression(brow_raise=0.16, brow_tilt=-0.22, brow_arch=0.05, eye_open=0.32, pupil=0.07, mouth_curve=-0.12,
                   mouth_open=0.18, mouth_width=0.48, mouth_wave=0.045, teeth=0.9),
    ),
    "happy": (
        Expression(brow_raise=0.02, brow_tilt=-0.03, brow_arch=0.06, eye_open=0.17, eye_smile=0.0, squint=0.0,
                   mouth_curve=0.14, mouth_open=-0.10, mouth_width=0.38),
        Expression(brow_raise=0.11, brow_tilt=0.03, brow_arch=0.12, eye_open=0.22, eye_smile=0.8, squint=0.35,
                   mouth_curve=0.26, mouth_open=0.20, mouth_width=0.54),
    ),
    "neutral": (
        Expression(brow_raise=-0.02, brow_tilt=-0.03, brow_arch=0.02, eye_open=0.17, mouth_curve=-0.015,
                   mouth_width=0.28),
        Expression(brow_raise=0.04, brow_tilt=0.03, brow_arch=0.07, eye_open=0.21, lid_droop=0.2, mouth_curve=0.02,
                   mouth_width=0.44),
    ),
    "sad": (
        Expression(brow_raise=-0.02, brow_tilt=-0.15, brow_arch=-0.02, eye_open=0.15, lid_slant=-0.25,
                   lid_droop=0.3, mouth_curve=-0.10, mouth_open=-0.2, mouth_width=0.24, tear=0.1),
        Expression(brow_raise=0.05, brow_tilt=-0.25, brow_arch=0.02, eye_open=0.20, lid_slant=-0.6,
                   lid_droop=0.5, mouth_curve=-0.19, mouth_open=0.02, mouth_width=0.38, tear=1.0),
    ),
    "surprise": (
        Expression(brow_raise=0.14, brow_tilt=-0.03, brow_arch=0.08, eye_open=0.25, pupil=0.08, mouth_open=0.16,
                   mouth_width=0.12),
        Expression(brow_raise=0.24, brow_tilt=0.03, brow_arch=0.15, eye_open=0.31, pupil=0.12, mouth_open=0.27,
                   mouth_width=0.21),
    ),
}  # fmt: skip
CLASSES = tuple(EMOTIONS)


def draw_expression(rng: Generator, emotion: str) -> Expression:
    """An expression between the mild and the strong extreme of `emotion`; each value is drawn independently."""
    mild, strong = EMOTIONS[emotion]
    names = [field.name for field in fields(Expression)]
    weights = rng.random(len(names))
    values = {
        name: (1 - weight) * getattr(mild, name) + weight * getattr(strong, name)
        for name, weight in zip(names, weights.tolist(), strict=True)
    }
    values["mouth_skew"] *= either_side(rng)  # either corner may rise, so that a mirrored face keeps its class
    return Expression(**values)


# --- Styles -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Style:
    """The style of a source: line width, and the ranges of pose, background and camera."""

    key: int  # part of the seed, so that the sources differ
    line: Range  # line width in face units
    scale: Range  # half the width of a head, in units of half the image
    shift: float  # largest shift of the head, in the same units
    roll: float  # largest rotation in the image, in degrees
    yaw: float  # largest turn to the side, in degrees
    clutter: Range  # number of things in the background
    noise: Range  # standard deviation, in grey levels
    blur: Range  # radius in pixels; negative is none
    light: float  # strongest lighting gradient
    negative: float  # fraction of images that are negatives: light lines on dark faces


# --- Geometry -----------------------------------------------------------------------------------------------------
# A point is a complex number, x + iy, so that one multiplication rotates and scales all points of a line.

FULL_TURN = np.linspace(0, 2 * np.pi, 21)
HALF_TURN = np.linspace(0, np.pi, 11)
ACROSS = np.linspace(-1, 1, 13)  # from one end of a brow or a mouth to the other


@dataclass(frozen=True, slots=True)
class Pose:
    """Position, size and rotation of the head."""

    centre: complex  # on the canvas
    scale: float  # canvas pixels per face unit
    turn: complex  # rotation in the image, times scale
    yaw: float  # radians, positive looks to the right
    pitch: float  # face units by which the features are shifted down
    width: float  # of the head, relative to its height

    def flat(self, points: np.ndarray) -> list[float]:
        """Canvas coordinates x0, y0, x1, y1, ... of points in the plane of the image: head, hair, hats."""
        squeezed = points.real * self.width + 1j * points.imag
        placed: np.ndarray = squeezed * self.turn + self.centre
        coordinates: list[float] = placed.view(np.float64).tolist()
        return coordinates

    def on_face(self, points: np.ndarray) -> list[float]:
        """Canvas coordinates x0, y0, ... of points on the front of the head, which is round and may be turned."""
        x = points.real
        depth = np.sqrt(np.maximum(0.0, 1 - x * x))
        turned = math.cos(self.yaw) * x + 0.8 * math.sin(self.yaw) * depth
        return self.flat(turned + 1j * (points.imag + self.pitch))


def draw_pose(rng: Generator, style: Style) -> Pose:
    """A pose within the limits of `style`."""
    shift_x, shift_y, roll, yaw, pitch = rng.uniform(-1, 1, 5).tolist()
    half = CANVAS / 2
    scale = half * between(rng, *style.scale)
    return Pose(
        centre=half * complex(1 + style.shift * shift_x, 1.04 + style.shift * shift_y),
        scale=scale,
        turn=cmath.rect(scale, math.radians(style.roll * roll)),
        yaw=math.radians(style.yaw * yaw),
        pitch=0.09 * pitch,
        width=between(rng, 0.88, 1.08),
    )


def ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Points of an ellipse around (x, y)."""
    return complex(x, y) + (rx * np.cos(FULL_TURN) + 1j * ry * np.sin(FULL_TURN))


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> np.ndarray:
    """Points of a part of an ellipse; angles in degrees, clockwise from the right."""
    angles = math.radians(start) + HALF_TURN * ((end - start) / 180)
    return complex(x, y) + (rx * np.cos(angles) + 1j * ry * np.sin(angles))


def corners(*points: tuple[float, float]) -> np.ndarray:
    """The corners of a line or of a shape."""
    return np.array([complex(x, y) for x, y in points])


# --- The brush ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Palette:
    """The greys of one image, 0 black to 255 white."""

    background: int
    skin: int
    ink: int
    hair: int
    white: int  # of eyes and teeth


def draw_palette(rng: Generator) -> Palette:
    """Random greys: the ink is darker than the skin, the whites of the eyes are lighter."""
    skin = int(between(rng, 115, 226))
    return Palette(
        background=int(between(rng, 20, 236)),
        skin=skin,
        ink=int(between(rng, 0, 36)),
        hair=int(between(rng, 15, 90) if rng.random() < 0.5 else between(rng, 150, 245)),
        white=min(255, skin + int(between(rng, 45, 90))),
    )


@dataclass(frozen=True, slots=True)
class Brush:
    """Draws shapes given in face units onto the canvas."""

    canvas: ImageDraw.ImageDraw
    pose: Pose
    palette: Palette
    line: float  # width in face units

    def stroke(self, points: np.ndarray, width: float = 1.0, grey: int | None = None) -> None:
        """A line on the face, `width` times the usual width, in ink unless `grey` says otherwise."""
        self._line(self.pose.on_face(points), width, grey)

    def shape(self, points: np.ndarray, grey: int, outline: float = 1.0) -> None:
        """A filled shape on the face."""
        self._fill(self.pose.on_face(points), grey, outline)

    def flat_stroke(self, points: np.ndarray, width: float = 1.0, grey: int | None = None) -> None:
        """A line around the face that does not turn with it."""
        self._line(self.pose.flat(points), width, grey)

    def flat_shape(self, points: np.ndarray, grey: int, outline: float = 1.0) -> None:
        """A filled shape around the face that does not turn with it."""
        self._fill(self.pose.flat(points), grey, outline)

    def _line(self, placed: list[float], width: float, grey: int | None) -> None:
        pixels = max(1, round(width * self.line * self.pose.scale))
        self.canvas.line(placed, self.palette.ink if grey is None else grey, pixels)

    def _fill(self, placed: list[float], grey: int, outline: float) -> None:
        self.canvas.polygon(placed, grey)
        if outline:
            self._line([*placed, *placed[:2]], outline, None)


# --- Distractors: independent of the emotion ----------------------------------------------------------------------


def draw_background(canvas: ImageDraw.ImageDraw, rng: Generator, style: Style) -> None:
    """Stripes, boxes and lamps behind the head, as many as the style has."""
    for _ in range(int(between(rng, style.clutter[0], style.clutter[1] + 1))):
        grey = int(between(rng, 10, 246))
        x, y = (CANVAS * rng.uniform(-0.1, 1.1, 2)).tolist()
        width, height = (CANVAS * rng.uniform(0.08, 0.45, 2)).tolist()
        kind = rng.integers(3)
        if kind == 0:
            canvas.rectangle((x - width / 2, y - height / 2, x + width / 2, y + height / 2), grey)
        elif kind == 1:
            canvas.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), grey)
        else:
            far_x, far_y = (CANVAS * rng.uniform(-0.1, 1.1, 2)).tolist()
            canvas.line((x, y, far_x, far_y), grey, round(width / 4))


def draw_head(brush: Brush, rng: Generator) -> None:
    """Neck, ears and the outline: from round to square, with a jaw from narrow to wide."""
    skin = brush.palette.skin
    brush.flat_shape(corners((-0.35, 0.7), (0.35, 0.7), (0.42, 1.6), (-0.42, 1.6)), skin)
    if rng.random() < 0.7:
        for side in (-1, 1):
            brush.flat_shape(ellipse(side * 0.98, 0.02, 0.16, 0.22), skin)
    power, taper = between(rng, 0.72, 1.0), between(rng, -0.06, 0.16)
    cos, sin = np.cos(FULL_TURN), np.sin(FULL_TURN)
    x = np.sign(cos) * np.abs(cos) ** power
    y = np.sign(sin) * np.abs(sin) ** power * 1.1
    brush.flat_shape(x * (1 - taper * y) + 1j * y, skin)


def draw_hair_behind(brush: Brush, rng: Generator) -> None:
    """Long hair or a bun, partly covered by the head."""
    kind = rng.random()
    if kind < 0.25:
        bottom = between(rng, 0.5, 1.2)
        top = arc(0, -0.2, 1.22, 1.08, 180, 360)
        brush.flat_shape(np.concatenate([top, corners((1.25, bottom), (-1.25, bottom))]), brush.palette.hair)
    elif kind < 0.35:
        brush.flat_shape(ellipse(between(rng, -0.4, 0.4), -1.15, 0.38, 0.34), brush.palette.hair)


def draw_hair_in_front(brush: Brush, rng: Generator) -> None:
    """A fringe, spikes, curls, a hat or nothing, always above the brows."""
    hair, kind = brush.palette.hair, rng.random()
    if kind < 0.3:  # a fringe with a parting somewhere
        parting = between(rng, -0.6, 0.6)
        line = corners((0.93, -0.5), (parting, between(rng, -0.95, -0.75)), (-0.93, -0.5))
        brush.flat_shape(np.concatenate([arc(0, -0.1, 1.03, 1.08, 202, 338), line]), hair)
    elif kind < 0.5:
        x = np.linspace(-0.85, 0.85, 11)
        tips = np.where(np.arange(11) % 2, -1.35, -0.82) + 0.35 * x * x
        brush.flat_shape(x + 1j * tips, hair)
    elif kind < 0.62:
        for x in np.linspace(-0.72, 0.72, 5).tolist():
            brush.flat_shape(ellipse(x, -1.12 + 0.42 * x * x, 0.26, 0.24), hair)
    elif kind < 0.78:
        crown = arc(0, -0.72, 0.92, between(rng, 0.45, 0.75), 180, 360)
        brush.flat_shape(crown, hair)
        brush.flat_stroke(corners((-1.1, -0.74), (1.1, -0.74)), 2.2)


def draw_glasses(brush: Brush, rng: Generator) -> None:
    """Round or square frames, on some faces."""
    if rng.random() > 0.2:
        return
    square = rng.random() < 0.4
    for side in (-1, 1):
        x = side * 0.42
        frame = corners((x - 0.32, -0.4), (x + 0.32, -0.4), (x + 0.32, 0.13), (x - 0.32, 0.13), (x - 0.32, -0.4))
        brush.stroke(frame if square else ellipse(x, -0.13, 0.33, 0.34), 0.6)
        brush.stroke(corners((side * 0.74, -0.15), (side * 0.95, -0.2)), 0.6)
    brush.stroke(corners((-0.1, -0.15), (0.1, -0.15)), 0.6)


def draw_cheeks(brush: Brush, rng: Generator) -> None:
    """Blush or freckles, on some faces."""
    kind = rng.random()
    for side in (-1, 1):
        if kind < 0.2:
            grey = max(0, brush.palette.skin - 32)
            brush.shape(ellipse(side * 0.62, 0.3, 0.17, 0.11), grey, outline=0)
        elif kind < 0.35:
            for x, y in ((0.52, 0.25), (0.66, 0.2), (0.6, 0.34)):
                brush.shape(ellipse(side * x, y, 0.03, 0.03), brush.palette.ink, outline=0)


# --- Features: they express the emotion ---------------------------------------------------------------------------


def draw_brows(brush: Brush, face: Expression, thickness: float) -> None:
    """Two arcs, mirrored, from the inner to the outer end."""
    t = ACROSS  # -1 at the nose, 1 at the temple
    y = -0.47 - face.brow_raise - face.brow_tilt * t - face.brow_arch * (1 - t * t)
    for side in (-1, 1):
        brush.stroke(side * (0.42 + 0.25 * t) + 1j * y, thickness)


def draw_eyes(brush: Brush, face: Expression, gaze: tuple[float, float]) -> None:
    """Whites and pupils, cut by the lids; or arcs, if a smile closes the eyes."""
    for side in (-1, 1):
        if face.eye_smile > 0.5:
            brush.stroke(arc(side * 0.42, -0.02, 0.2, 0.2, 195, 345), 1.3)
        else:
            draw_eye(brush, face, side, gaze)


def draw_eye(brush: Brush, face: Expression, side: int, gaze: tuple[float, float]) -> None:
    """One eye: an ellipse whose height the upper and the lower lid limit."""

    def lids(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Upper and lower edge over `t`, which runs from -1 at the nose to 1 at the temple."""
        round_edge = face.eye_open * np.sqrt(np.maximum(0.0, 1 - t * t))
        lid = face.eye_open * (1 - face.lid_droop - 0.5 * abs(face.lid_slant) + face.lid_slant * t)
        return -np.minimum(round_edge, lid), np.minimum(round_edge, face.eye_open * (1 - face.squint))

    middle, height, half_width = 0.42, -0.12, 0.21
    t = np.cos(HALF_TURN)
    upper, lower = lids(t)
    x = side * (middle + half_width * t)
    upper_lid, lower_lid = x + 1j * (height + upper), x + 1j * (height + lower)
    brush.shape(np.concatenate([upper_lid, lower_lid[::-1]]), brush.palette.white, outline=0.55)
    if face.lid_slant or face.lid_droop > 0.2:
        brush.stroke(upper_lid, 0.9)  # a heavy lid
    pupil = ellipse(side * middle + gaze[0], gaze[1], face.pupil, face.pupil)
    upper, lower = lids((side * pupil.real - middle) / half_width)
    visible = np.clip(pupil.imag, np.minimum(upper, lower), lower)
    brush.shape(pupil.real + 1j * (height + visible), brush.palette.ink, outline=0)


def draw_nose(brush: Brush, face: Expression, rng: Generator) -> None:
    """A button, a hook or a line; a wrinkled nose has folds on its bridge and beside it."""
    kind, wrinkle = rng.integers(3), face.nose_wrinkle
    y = 0.25 - 0.05 * wrinkle
    if kind == 0:
        brush.stroke(arc(0, y - 0.02, 0.11, 0.09, 0, 180), 0.8)
    elif kind == 1:
        side = either_side(rng)
        brush.stroke(corners((0, 0.02), (side * 0.12, y), (0, y + 0.05)), 0.7)
    else:
        brush.stroke(corners((-0.08, y), (0.08, y)), 0.9)
    if wrinkle > 0.3:
        for height in (-0.14, 0.0):
            brush.stroke(corners((-0.13, height - 0.05), (0, height + 0.03), (0.13, height - 0.05)), 0.6)
        for side in (-1, 1):
            fold = corners((side * 0.19, y - 0.1), (side * 0.29, y + 0.02), (side * 0.36, y + 0.2 * wrinkle))
            brush.stroke(fold, 0.7)


def draw_mouth(brush: Brush, face: Expression) -> None:
    """Lips as one line, or an opening between two, with teeth or a tongue."""
    t = ACROSS
    x = face.mouth_width * t
    middle = 0.62 + face.mouth_curve * (1 - 2 * t * t) + face.mouth_skew * t
    middle = middle + face.mouth_wave * np.sin(2.5 * np.pi * (t + 1))
    if face.mouth_open < 0.05:
        brush.stroke(x + 1j * middle, 1.3)
    else:
        half = face.mouth_open * np.sqrt(np.maximum(0.0, 1 - t * t))
        upper, lower = middle - half, middle + half
        opening = np.concatenate([x + 1j * upper, (x + 1j * lower)[::-1]])
        clenched = face.teeth > 0.5
        brush.shape(opening, brush.palette.white if clenched else brush.palette.ink)
        if clenched:
            brush.stroke(x + 1j * middle, 0.5)
            for i in (3, 6, 9):
                brush.stroke(corners((x[i], upper[i]), (x[i], lower[i])), 0.5)
    if face.tongue > 0.5:
        brush.shape(arc(0, middle[6] + max(face.mouth_open, 0), 0.13, 0.24, 0, 180), brush.palette.skin - 40)


def draw_tear(brush: Brush, face: Expression, rng: Generator) -> None:
    """A drop below one eye."""
    side, y = either_side(rng), between(rng, 0.2, 0.4)
    if face.tear > 0.5:
        drop = np.concatenate([arc(side * 0.5, y, 0.08, 0.09, -20, 200), corners((side * 0.5, y - 0.2))])
        brush.shape(drop, brush.palette.white, outline=0.5)


# --- The image ----------------------------------------------------------------------------------------------------


def draw_face(rng: Generator, emotion: str, style: Style) -> Image.Image:
    """One image of `SIZE` x `SIZE` grey pixels."""
    face = draw_expression(rng, emotion)
    palette = draw_palette(rng)
    image = Image.new("L", (CANVAS, CANVAS), palette.background)
    canvas = ImageDraw.Draw(image)
    draw_background(canvas, rng, style)
    brush = Brush(canvas, draw_pose(rng, style), palette, line=between(rng, *style.line))
    draw_hair_behind(brush, rng)
    draw_head(brush, rng)
    draw_cheeks(brush, rng)
    gaze_x, gaze_y = rng.uniform(-0.05, 0.05, 2).tolist()
    draw_eyes(brush, face, gaze=(gaze_x, gaze_y))
    draw_nose(brush, face, rng)
    draw_mouth(brush, face)
    draw_hair_in_front(brush, rng)
    draw_brows(brush, face, thickness=between(rng, 1.1, 1.9))
    draw_glasses(brush, rng)
    draw_tear(brush, face, rng)
    return develop(image.reduce(OVERSAMPLING), rng, style)


def develop(image: Image.Image, rng: Generator, style: Style) -> Image.Image:
    """The effects of the camera: blur, light from one side, contrast, in some images inversion, noise."""
    radius = between(rng, *style.blur)
    if radius > 0.05:
        image = image.filter(ImageFilter.GaussianBlur(radius))
    grey = np.asarray(image, dtype=np.float64)
    direction, strength = between(rng, 0, 2 * np.pi), between(rng, 0, style.light)
    across, down = strength * math.cos(direction) * RAMP, strength * math.sin(direction) * RAMP
    grey = grey * (1 + across[None, :] + down[:, None])
    contrast, middle = between(rng, 0.6, 1.0), between(rng, 100, 156)
    grey = middle + contrast * (grey - 128)
    if rng.random() < style.negative:
        grey = 255 - grey
    grey = grey + between(rng, *style.noise) * rng.standard_normal((SIZE, SIZE))
    return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
