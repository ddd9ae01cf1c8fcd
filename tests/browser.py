"""A real headless browser for tests: Chromium, spoken to through a pipe, without any package."""

import base64
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from itertools import count

import pytest

NAMES = 'chromium', 'chromium-browser', 'google-chrome'
FLAGS = (
    *('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'),
    *('--no-first-run', '--disable-background-networking', '--remote-debugging-pipe'),
)


class Page:
    """One page; `problems` lists its errors and what it wrote to the console or tried to load."""

    def __init__(self, reader, writer):
        self._reader, self._writer, self._numbers = reader, writer, count(1)
        self._session, self.problems, self.asked, self._events = None, [], [], set()
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        self._session = session
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')

    def call(self, method, **params):
        """Send a command of the DevTools protocol, and return its result."""
        number = next(self._numbers)
        message = dict(id=number, method=method, params=params)
        if self._session:
            message['sessionId'] = self._session
        self._writer.write(json.dumps(message).encode() + b'\0')
        self._writer.flush()
        self._events.clear()
        while (answer := self._next()).get('id') != number:
            pass
        assert 'error' not in answer, answer
        return answer['result']

    def _next(self):
        text = bytearray()
        while (byte := self._reader.read(1)) != b'\0':
            assert byte, 'the browser ended'
            text += byte
        message = json.loads(text)
        self._events.add(message.get('method'))
        if message.get('method') in ('Runtime.exceptionThrown', 'Runtime.consoleAPICalled'):
            self.problems.append(message['params'])
        elif message.get('method') == 'Log.entryAdded':
            self.problems.append(message['params']['entry']['text'])
        elif message.get('method') == 'Network.requestWillBeSent':
            self.asked.append(message['params']['request']['url'])
        return message

    def open(self, url, width=1280, height=900, scripts=True):
        self.problems.clear()
        self.asked.clear()
        size = dict(width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.call('Emulation.setDeviceMetricsOverride', **size)
        self.call('Emulation.setScriptExecutionDisabled', value=not scripts)
        self.call('Page.navigate', url=url)
        self.wait('Page.loadEventFired')

    def wait(self, event):
        """Read on until an event was told."""
        while event not in self._events:
            self._next()

    def run(self, expression):
        """Evaluate JavaScript, and return what it gives."""
        result = self.call(
            'Runtime.evaluate', expression=expression, returnByValue=True, awaitPromise=True
        )
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def photograph(self, path):
        """Write a picture of the whole page."""
        shot = self.call('Page.captureScreenshot', captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot['data']))


@contextmanager
def browser(folder):
    """Start Chromium with a profile of its own in a folder, or skip the test."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip('no Chromium is installed, in which the page is opened')
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    # Through the shell they become 3 and 4, where Chromium looks for them.
    command = f'exec "$0" "$@" 3<&{their_in} 4>&{their_out}'
    process = subprocess.Popen(
        ['bash', '-c', command, program, *FLAGS, f'--user-data-dir={folder}'],
        pass_fds=(their_in, their_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    with open(our_in, 'rb') as reader, open(our_out, 'wb') as writer:
        try:
            page = Page(reader, writer)
            yield page
            page.call('Page.close')
        finally:
            process.terminate()
            process.wait(20)
