"""What tools/infer.py and tools/show_spikes.py do."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from mmspike.engine.config import config_parser
from mmspike.errors import UserError

from .hosts import Host
from .inference import Inferencer, check_score
from .inputs import find_images, is_video
from .spikes import show_spikes as draw_spikes

NAMED = 3  # So many broken images are named; the others stand in the JSON.


def infer(argv: Sequence[str] | None = None) -> dict:
    """Show what a model finds in an image, a folder or a video, as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        What the inferencer returns.

    Raises:
        UserError: If the command, the config, the checkpoint or an input is not usable. If only
            some of several images fail, the rest are processed first.
    """
    parser = _common_parser('Show what a model finds in an image, a folder of images or a video')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        'input', help='an image; a folder, of which the images directly in it are taken; or a video'
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='leave objects below this score out of pictures and JSON (0 to 1, default: 0.3)',
    )
    args = parser.parse_args(argv)
    check_score(args.score_thr)
    if not is_video(args.input):
        find_images(args.input)  # Before a model is built for nothing.
    out_dir = args.out_dir or Path('work_dirs', Path(args.config).stem, 'inference')
    inferencer = Inferencer(args.config, args.checkpoint, args.device, args.cfg_options)
    result = inferencer(args.input, out_dir, args.score_thr)
    print(f"{len(result['predictions'])} done; pictures and predictions.json are in '{out_dir}'")
    failed = result['failed']
    if failed:
        named = ', '.join(f"'{Path(entry['file']).name}'" for entry in failed[:NAMED])
        raise UserError(
            f'{len(failed)} of {len(failed) + len(result["predictions"])} images could not be used '
            f'({named}{", ..." if len(failed) > NAMED else ""}); the others are done, and '
            f"'{out_dir}/predictions.json' says under failed what is wrong with each."
        )
    return result


def show_spikes(argv: Sequence[str] | None = None) -> None:
    """Draw where a network fires for one image, as a command line says.

    Args:
        argv: The arguments; those of the process by default.

    Raises:
        UserError: If the command, the config, the checkpoint or the image is not usable, or the
            model does not spike.
    """
    parser = _common_parser('Show where and how often a spiking network fires for one image')
    parser.add_argument(
        'checkpoint', nargs='?', help='checkpoint file; without it the weights are the initial ones'
    )
    parser.add_argument('image', help='image file')
    args = parser.parse_args(argv)
    if Path(args.image).is_dir() or is_video(args.image):
        raise UserError(f"'{args.image}' is not one image, which spikes are shown for; name one.")
    (path,) = find_images(args.image)
    out_dir = args.out_dir or Path('work_dirs', Path(args.config).stem, 'spikes')
    host = Host(args.config, args.checkpoint, args.device, args.cfg_options)
    recorder = draw_spikes(host, host.read(path), out_dir)
    rates = {name: float(rate.mean()) for name, rate in recorder.rates.items()}
    silent = [name for name, rate in rates.items() if rate == 0]
    mean = sum(rates.values()) / len(rates)
    print(f'{len(rates)} neuron layers fire at {100 * mean:.1f} % on average; {len(silent)} silent')
    if not args.checkpoint:
        print('no checkpoint was given: these are the spikes of an untrained network')
    print(f"heat_maps.png, firing_rates.png, .json and .csv are in '{out_dir}'")


def _common_parser(description: str) -> ArgumentParser:
    parser = config_parser(description)
    parser.add_argument('--out-dir', help='folder to write to')
    parser.add_argument('--device', help='cpu, cuda:0, ...; by default a GPU if there is one')
    return parser
