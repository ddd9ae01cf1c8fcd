#!/usr/bin/env python3
"""Write one page about a trained spiking model."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('report')
