"""Single flight: who asks the same at the same time asks once, and nobody is taken along by another."""

import anyio
import pytest

from guestpass.adapters.single_flight import SingleFlight

pytestmark = pytest.mark.anyio


class Question:
    """Counts how often it is asked; answers when told."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = anyio.Event()
        self.error: Exception | None = None

    async def __call__(self, key: str) -> str:
        self.asked += 1
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return key.upper()


async def test_those_who_ask_at_once_share_one_answer_and_later_ones_ask_anew() -> None:
    flight: SingleFlight[str, str] = SingleFlight()
    question = Question()
    answers: list[str] = []

    async def ask(key: str) -> None:
        answers.append(await flight.ask(key, question))

    async with anyio.create_task_group() as tasks:
        for key in "aabab":
            tasks.start_soon(ask, key)
        await anyio.wait_all_tasks_blocked()
        question.answer.set()
    assert sorted(answers) == ["A", "A", "A", "B", "B"]
    assert question.asked == 2
    await ask("a")
    assert question.asked == 3


async def test_an_answer_of_nothing_is_an_answer() -> None:
    flight: SingleFlight[str, None] = SingleFlight()
    asked: list[str] = []

    async def question(key: str) -> None:
        asked.append(key)
        await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(flight.ask, "a", question)
    assert asked == ["a"]


async def test_a_failure_is_shared_too() -> None:
    flight: SingleFlight[str, str] = SingleFlight()
    question = Question()
    question.error = ValueError("no")
    failures: list[ValueError] = []

    async def ask() -> None:
        try:
            await flight.ask("a", question)
        except ValueError as exc:
            failures.append(exc)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        question.answer.set()
    assert len(failures) == 3
    assert question.asked == 1


async def test_whoever_goes_away_takes_nobody_along() -> None:
    flight: SingleFlight[str, str] = SingleFlight()
    question = Question()
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await flight.ask("a", question))

    async with anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()
        await anyio.wait_all_tasks_blocked()
        question.answer.set()
    assert answers == ["A", "A"]
    assert question.asked == 2
