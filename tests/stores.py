"""Makes tiny OME-Zarr images with zarr alone, so that tests do not trust our own code."""

import json

import zarr

KINDS = {"t": "time", "c": "channel"}
V3 = "0.5"


def make_store(path, levels, axes="yx", version=V3, scale=None, channels=(), **attributes):
    """Write an image; each level is a half of the one before unless it has other scales."""
    path.mkdir(parents=True)
    for i, level in enumerate(levels):
        array = zarr.create_array(
            str(path / str(i)),
            shape=level.shape,
            dtype=level.dtype,
            chunks=(*(1 for _ in level.shape[:-2]), 16, 16),
            zarr_format=3 if version == V3 else 2,
            dimension_names=list(axes) if version == V3 else None,
            chunk_key_encoding=None if version == V3 else {"name": "v2", "separator": "/"},
        )
        array[...] = level
    ome = {"multiscales": [multiscale(axes, len(levels), scale or [0.5] * len(axes))]}
    if channels:
        window = {"start": 0, "end": 1, "min": 0, "max": 1}
        ome["omero"] = {
            "channels": [
                {"label": n, "color": "FFFFFF", "window": window} for n in channels
            ]
        }
    if version != V3:
        ome["multiscales"][0]["version"] = version
    write_group(path, ome | attributes, version)
    return path


def multiscale(axes, n_levels, scale):
    return {
        "axes": [axis(name) for name in axes],
        "datasets": [
            {
                "path": str(i),
                "coordinateTransformations": [
                    {
                        "type": "scale",
                        "scale": [
                            s * 2**i if n in "yx" else s
                            for n, s in zip(axes, scale, strict=True)
                        ],
                    }
                ],
            }
            for i in range(n_levels)
        ],
    }


def axis(name):
    unit = {} if name in KINDS else {"unit": "micrometer"}
    return {"name": name, "type": KINDS.get(name, "space"), **unit}


def write_group(path, ome, version=V3):
    path.mkdir(parents=True, exist_ok=True)
    if version == V3:
        attributes = {"ome": {"version": version, **ome}}
        document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        (path / "zarr.json").write_text(json.dumps(document))
    else:
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(ome))


def change(path, *keys, to):
    """Change a value in a JSON file."""
    document = json.loads(path.read_text())
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    path.write_text(json.dumps(document))
