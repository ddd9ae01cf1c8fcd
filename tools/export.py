#!/usr/bin/env python3
"""Write a trained spiking model for a chip or another runtime."""

from mmspike.commands.main import run

if __name__ == '__main__':
    run('export')
