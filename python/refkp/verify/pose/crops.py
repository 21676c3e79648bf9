"""Adapter of square crops."""

from __future__ import annotations

import torch

from refkp.systems.pose.crops import crop_image, square_crop
from refkp.verify.registry import Arrays, Params, Values, adapter


@adapter("pose", "crop")
def crop(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Boxes of pictures, enlarged by nearest pixels, and the camera of each."""
    crops = [square_crop(tuple(box), params["target"]) for box in arrays["boxes_xyxy"].tolist()]
    cropped = [
        crop_image(image, crop, "nearest") for image, crop in zip(arrays["images"], crops, strict=True)
    ]
    matrices = torch.stack([crop.matrix for crop in crops])
    return {"M": matrices, "cropped": torch.stack(cropped), "K_cropped": matrices @ arrays["K"].double()}
