"""PNG and JPEG kinds, files with a wrong suffix, and things that are not files."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from attacks.expected import Expected
from attacks.program import crop

Rng = np.random.Generator
Made = tuple[str, Path, Expected]

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\n%%EOF\n"
FOREIGN = {
    "EPS": EPS,
    "PDF": b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
    "text": b"no image at all\n",
    "python": b"open('ran', 'w').write('x')\n",
    "HTML": b"<!doctype html><title>404</title>",
    "JSON": b'{"images": []}',
    "ELF": b"\x7fELF\x02\x01\x01" + bytes(60),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "PSD": b"8BPS\x00\x01" + bytes(60),
    "XPM": b'/* XPM */\nstatic char *x[] = {"1 1 1 1", "a c #000", "a"};',
    "gzip": b"\x1f\x8b\x08" + bytes(40),
    "NumPy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'shape': (1,)}\n",
    "AppleDouble": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(40),
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
}
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".PNG", ".TIF")


def make(rng: Rng, folder: Path) -> Made:
    """Write a file of a random kind."""
    return KINDS[int(rng.integers(len(KINDS)))](rng, folder)


def png(rng: Rng, folder: Path) -> Made:
    """Write a PNG of any kind."""
    from PIL import Image

    grey = crop(rng)[0]
    mode = str(rng.choice(["L", "LA", "RGB", "RGBA", "P", "P+t", "1", "I;16"]))
    colour = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    path = folder / f"kind.{rng.choice(['png', 'PNG'])}"
    right: list[tuple[Any, str]] = [(grey, "YX")]
    if mode == "L":
        image = Image.fromarray(grey)
    elif mode == "LA":
        image = Image.fromarray(np.stack([grey, np.full_like(grey, 255)], axis=-1))
    elif mode in ("RGB", "RGBA"):
        image = Image.fromarray(colour).convert(mode)
        right = [(colour, "YXS")]
    elif mode[0] == "P":
        image = Image.fromarray(colour).convert("P", palette=Image.Palette.ADAPTIVE)
        right = [(np.asarray(image.convert("RGB")), "YXS"), (np.asarray(image), "YX")]
    elif mode == "1":
        image = Image.fromarray(grey > 60)
        right = [(grey > 60, "YX")]
    else:
        deep = grey.astype(np.uint16) * 257
        image, right = Image.fromarray(deep), [(deep, "YX")]
    known = {"transparency": 3} if mode == "P+t" else {}
    image.save(path, **known)
    must = "either" if mode in ("P", "P+t", "LA") else "right"
    return f"{mode} PNG", path, Expected(right, must)


def animation(rng: Rng, folder: Path) -> Made:
    """Write a PNG of several frames: the first one counts, or all."""
    from PIL import Image

    frames = [crop(rng, 60, 64)[0] for _ in range(2)]
    path = folder / "animation.png"
    first, *rest = [Image.fromarray(f) for f in frames]
    first.save(path, save_all=True, append_images=rest)
    return "animated PNG", path, Expected([(frames[0], "YX"), (np.stack(frames), "ZYX")])


def jpeg(rng: Rng, folder: Path) -> Made:
    """Write a JPEG of any kind, some with an orientation."""
    from PIL import Image

    grey = crop(rng)[0]
    mode = str(rng.choice(["L", "RGB", "CMYK"]))
    path = folder / f"kind.{rng.choice(['jpg', 'jpeg'])}"
    image = Image.fromarray(grey).convert(mode)
    exif = Image.Exif()
    if turned := rng.random() < 0.3:
        exif[0x0112] = 6
    image.save(path, quality=90, exif=exif)
    read = Image.open(path).convert("L" if mode == "L" else "RGB")
    axes = "YX" if mode == "L" else "YXS"
    right = [(np.asarray(read), axes)]
    if turned:
        right.append((np.asarray(read.rotate(-90, expand=True)), axes))
    must = "either" if mode == "CMYK" else "right"
    return f"{mode} JPEG {'turned' if turned else ''}", path, Expected(right, must)


def foreign(rng: Rng, folder: Path) -> Made:
    """Another format under the name of an image."""
    from PIL import Image

    names = [*FOREIGN, "WebP", "BMP", "GIF", "ICO", "PPM", "TGA", "PCX", "noise"]
    kind = str(rng.choice(names))
    if kind in FOREIGN:
        data = FOREIGN[kind]
    elif kind == "noise":
        data = rng.bytes(int(rng.integers(1, 3000)))
    else:
        stream = io.BytesIO()
        Image.fromarray(crop(rng, 48, 48)[0]).save(stream, kind)
        data = stream.getvalue()
    path = folder / f"foreign{rng.choice(SUFFIXES)}"
    path.write_bytes(data)
    return f"{kind} in {path.suffix}", path, Expected(must="refuse")


def swapped(rng: Rng, folder: Path) -> Made:
    """One of our formats under the name of another one of them."""
    from PIL import Image

    grey = crop(rng)[0]
    kind, suffix = [("PNG", ".tif"), ("PNG", ".jpg"), ("TIFF", ".png"), ("JPEG", ".tif"),
                    ("JPEG", ".png")][int(rng.integers(5))]  # fmt: skip
    path = folder / f"swapped{suffix}"
    with path.open("wb") as stream:
        Image.fromarray(grey).save(stream, kind)
    read = np.asarray(Image.open(path, formats=[kind]))
    return f"{kind} in {suffix}", path, Expected([(read, "YX")])


def no_file(rng: Rng, folder: Path) -> Made:
    """Pipes, folders, links, sockets, devices, and nothing at all."""
    suffix = str(rng.choice(SUFFIXES))
    path = folder / f"thing{suffix}"
    kinds: dict[str, Callable[[], Any]] = {
        "a pipe": lambda: os.mkfifo(path),
        "a folder": path.mkdir,
        "a link to itself": lambda: path.symlink_to(path.name),
        "a link to nothing": lambda: path.symlink_to("gone.tif"),
        "a link to an endless device": lambda: path.symlink_to("/dev/zero"),
        "a link to a random device": lambda: path.symlink_to("/dev/urandom"),
        "a link to a pipe": lambda: (os.mkfifo(folder / "p"), path.symlink_to("p")),
        "a link to a folder": lambda: path.symlink_to(folder),
        "a socket": lambda: _socket(path),
        "an empty file": path.touch,
        "a missing file": lambda: None,
        "a file in a file": lambda: (folder / "f").touch(),
    }
    kind = str(rng.choice(list(kinds)))
    kinds[kind]()
    if kind == "a file in a file":
        path = folder / "f" / path.name
    return kind, path, Expected(must="refuse")


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def secret(rng: Rng, folder: Path) -> Made:
    """Write a file without read permission (root can read it anyway)."""
    image = crop(rng)[0]
    path = folder / "secret.tif"
    tifffile.imwrite(path, image)
    path.chmod(0)
    mighty = not hasattr(os, "geteuid") or os.geteuid() == 0
    expected = Expected([(image, "YX")]) if mighty else Expected(must="refuse")
    return "a file without permission", path, expected


def linked(rng: Rng, folder: Path) -> Made:
    """Write a link to an image: it is an image."""
    image = crop(rng)[0]
    tifffile.imwrite(folder / "real.tif", image)
    path = folder / "link.tif"
    path.symlink_to("real.tif")
    return "a link to an image", path, Expected([(image, "YX")], "right")


def named(rng: Rng, folder: Path) -> Made:
    """Odd names."""
    image = crop(rng)[0]
    stem = str(rng.choice(["Zelle ä µ 細胞", " spaces ", "-rf", "--output", "a\nb",
                           "a'b\"c",
                           "%s{0}", "tab\tbell\a", ".hidden", "x" * 120, "a.b.c",
                           "\u202efit",
                           "x" * 250, "CON", "~", "*?[a]", "$HOME",
                           "emoji 🔬"]))  # fmt: skip
    path = folder / f"{stem}.tif"
    tifffile.imwrite(path, image)
    must = "either" if len(stem) > 200 else "right"
    return "an odd name", path, Expected([(image, "YX")], must)


def unknown_suffix(rng: Rng, folder: Path) -> Made:
    """Write a format that is not supported."""
    suffix = str(rng.choice([".bmp", ".czi", ".nd2", "", ".tif.gz", ".py", "."]))
    path = folder / f"image{suffix}"
    tifffile.imwrite(path, crop(rng)[0])
    return "an unknown suffix", path, Expected(must="refuse")


KINDS: tuple[Callable[[Rng, Path], Made], ...] = (
    png, png, animation, jpeg, foreign, foreign, foreign, swapped, no_file, no_file, secret,
    linked, named, named, unknown_suffix,
)  # fmt: skip
