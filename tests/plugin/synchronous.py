"""Jobs and timers without threads and clocks, for tests of controllers."""

from __future__ import annotations


class SyncBackend:
    """Runs each job to its end at once."""

    def run(self, steps, listener):
        generator = steps()
        try:
            while True:
                listener.yielded(next(generator))
        except StopIteration as stop:
            listener.returned(stop.value)
        except Exception as error:  # noqa: BLE001 as in a thread
            listener.errored(error)
        return self

    def quit(self):
        """Nothing runs any more."""


class SteppedBackend:
    """Runs a job one event at a time, when the test says so."""

    def __init__(self):
        self.running = []

    def run(self, steps, listener):
        job = _Stepped(steps(), listener)
        self.running.append(job)
        return job


class _Stepped:
    def __init__(self, generator, listener):
        self.generator, self.listener = generator, listener
        self.quitted = False

    def step(self):
        """Let it run to its next event."""
        try:
            self.listener.yielded(next(self.generator))
        except StopIteration as stop:
            self.listener.returned(stop.value)
        except Exception as error:  # noqa: BLE001 as in a thread
            self.listener.errored(error)

    def quit(self):
        self.quitted = True


class ManualTimers:
    """Timers that the test fires."""

    def __init__(self):
        self.timers = []

    def once(self, milliseconds, call):
        self.timers.append(_Timer(call, once=True))
        return self.timers[-1]

    every = once

    def fire(self):
        """Fire every timer that was started."""
        for timer in [t for t in self.timers if t.running]:
            timer.running = not timer.once
            timer.call()


class _Timer:
    def __init__(self, call, once):
        self.call, self.once, self.running = call, once, False

    def start(self):
        self.running = True

    def stop(self):
        self.running = False
