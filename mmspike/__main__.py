"""``python -m mmspike`` is the command ``mmspike``."""

from mmspike.console import main

if __name__ == '__main__':
    main()
