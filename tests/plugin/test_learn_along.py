"""Learn while I correct: checking an area is enough."""

import numpy as np
import pytest


@pytest.fixture
def proposed(dock, image_of_nuclei):
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    dock.controller.choose_region("slice")
    return dock


def test_off_by_default_checking_starts_nothing(proposed):
    assert not proposed.find("auto_fine_tune").isChecked()
    proposed.click("mark_verified")
    proposed.qtbot.wait(200)
    assert proposed.is_idle()


def test_checking_learns_and_jobs_do_not_pile_up(proposed):
    proposed.click("auto_fine_tune")
    proposed.click("mark_verified")
    proposed.qtbot.waitUntil(lambda: not proposed.is_idle(), timeout=5000)
    assert proposed.work.job.kind == "fine-tune"
    verified = proposed.labels.data.copy()
    for _ in range(3):
        proposed.click("mark_verified")
    began = []
    start = proposed.work.start
    proposed.work.start = lambda kind, *rest: (began.append(kind), start(kind, *rest))
    proposed.wait()
    proposed.qtbot.waitUntil(lambda: "fine-tune" in began, timeout=60_000)
    proposed.wait()
    proposed.qtbot.wait(300)
    proposed.wait()
    assert began.count("fine-tune") == 1
    assert np.array_equal(proposed.labels.data, verified)


def test_closing_the_dock_while_a_wish_waits(proposed):
    proposed.click("auto_fine_tune")
    proposed.click("mark_verified")
    proposed.controller.shut_down()
    proposed.qtbot.wait(200)
    assert proposed.work.job is None
