"""Images that no network can answer, refused before one norm or neuron has seen them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmspike.errors import UserError


def check_pixels(x: Tensor, number: int | None = None) -> None:
    """Demand that every pixel is a finite number.

    A neuron does not fire on NaN, so the answer would be finite and wrong; in training the running
    statistics of the norms would be lost while the loss looks as ever. Looking takes one pass
    without a copy; what is traced, exported or compiled is not looked at, nor what is on a GPU,
    which would have to be waited for: `check_images` has looked before.

    Args:
        x: The input of a backbone, ``[B, C, H, W]`` or ``[B, T, C, H, W]``, or one image of it.
        number: Which image of the batch; None for a whole input.

    Raises:
        UserError: If a pixel is NaN or infinite.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    if x.device.type != 'cpu' or not x.numel():
        return
    if torch.stack(torch.aminmax(x.detach())).isfinite().all():  # NaN is both of them.
        return
    place = (~x.isfinite()).nonzero()[0].tolist()
    number = place[0] if number is None else number
    raise UserError(
        f'the input of the backbone has a pixel that is {x[tuple(place)].item()} (image {number} '
        f'of the batch, row {place[-2]}, column {place[-1]}), but pixels must be finite numbers; '
        'correct the image, or mean and std of the data_preprocessor.'
    )


def check_images(inputs: object, channels: int) -> None:
    """Demand finite images of the channels that a backbone takes, before they are normalized.

    Args:
        inputs: What a data preprocessor is given: a tensor, or one for each image, the channels
            third from the last; anything else is left to the preprocessor.
        channels: The backbone's ``in_channels``.

    Raises:
        UserError: If an image has others, or a pixel that is NaN or infinite.
    """
    images = inputs if isinstance(inputs, (list, tuple, Tensor)) else ()
    for number, image in enumerate(images):
        if isinstance(image, Tensor) and (image.dim() < 3 or image.shape[-3] != channels):
            raise UserError(
                f'image {number} of the batch has shape {tuple(image.shape)}, but it must be '
                f'[C, H, W] with C = {channels} channels, the in_channels of the backbone; load '
                "images with color_type='color' for 3 and 'grayscale' for 1."
            )
    for number, image in enumerate(images):
        # Whole numbers have no NaN.
        if isinstance(image, Tensor) and image.is_floating_point():
            check_pixels(image, number)


def explain_norm(error: ValueError) -> None:
    """Say in one sentence why a norm in training could not normalize a single value.

    Args:
        error: What was raised; of anything else nothing is said.

    Raises:
        UserError: If it was that.
    """
    if 'more than 1 value per channel' in str(error) and not isinstance(error, UserError):
        raise UserError(
            f'a norm has one value only to learn its statistics from ({error}); train with a '
            'larger batch or larger images, or with norm_eval=True.'
        ) from error


def explain_sizes(error: RuntimeError, image: Sequence[int], strides: Sequence[int]) -> None:
    """Say in one sentence why a neck could not join levels of different sizes.

    Args:
        error: What was raised; of anything else nothing is said.
        image: Height and width of the images.
        strides: Those of the backbone's outputs.

    Raises:
        UserError: If the images are no multiples of the largest stride and it was that.
    """
    most = max(strides)
    if 'Sizes of tensors must match' in str(error) and any(length % most for length in image):
        raise UserError(
            f'the images are {image[0]}x{image[1]} pixels, but this neck doubles each level to the '
            f'size of the next and needs a multiple of {most}; set '
            f'model.data_preprocessor.pad_size_divisor={most}.'
        ) from error
