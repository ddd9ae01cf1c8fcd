"""Show what a model finds in pictures and videos."""

from collections.abc import Sequence
from pathlib import Path

from mmspike.commands.inferencer import Inferencer, check_score
from mmspike.commands.media import find_images, is_video, passed_over, picture_parser
from mmspike.errors import UserError

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
    parser = picture_parser('Show what a model finds in an image, a folder of images or a video')
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
    if Path(args.input).expanduser().is_dir() and (others := passed_over(args.input)):
        print(others)
    if failed and is_video(args.input):
        # What can be read is done, and some files tell of more frames than they ever had.
        print(f'Warning: {failed[0]["reason"]}.')
    elif failed:
        named = ', '.join(f"'{Path(entry['file']).name}'" for entry in failed[:NAMED])
        raise UserError(
            f'{len(failed)} of {len(failed) + len(result["predictions"])} images could not be used '
            f'({named}{", ..." if len(failed) > NAMED else ""}); the others are done, and '
            f"'{out_dir}/predictions.json' says under failed what is wrong with each."
        )
    return result
