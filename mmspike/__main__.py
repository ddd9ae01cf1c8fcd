"""``python -m mmspike`` is the command ``mmspike``."""

from mmspike.commands.main import main

if __name__ == '__main__':
    main()
