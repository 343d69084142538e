"""What the front desk of the demo's hotel says: one conversation for each guest, bounded."""

from collections import OrderedDict, deque
from dataclasses import asdict, dataclass, field
from itertools import count
from threading import Lock
from typing import Any, Final

_MOST_GUESTS: Final = 100
_MOST_MESSAGES: Final = 100
_ANSWERS: Final = (
    ("breakfast", "Breakfast is from seven to half past ten. On the terrace, if the rain lets us."),
    ("check out", "Stay until one o'clock if you like. I have made a note of it."),
    ("wi-fi", "The network is called Lantern. No password, only patience."),
    (
        "who am i",
        "You are {name}, {email}, guest {subject:.8}. So three header fields say; of tokens I never heard.",
    ),
)
_OTHERWISE: Final = (
    "Certainly, {name}.",
    "I have passed that on to housekeeping.",
    "Of course. Is there anything else?",
    "Leave it to us, {name}.",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the desk, as the identity fields say."""

    subject: str
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `number` grows within a conversation, from 1."""

    number: int
    by: str
    text: str


@dataclass(slots=True)
class _Conversation:
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=_MOST_MESSAGES))
    said: int = 0

    def add(self, by: str, text: str) -> None:
        self.said += 1
        self.messages.append(Message(self.said, by, text))


class FrontDesk:
    """Keeps the conversations; guests who come after too many others displace those who came first."""

    def __init__(self) -> None:
        self._conversations: OrderedDict[str, _Conversation] = OrderedDict()
        self._lock = Lock()
        self._answered = count()

    def hear(self, caller: Caller, text: str) -> None:
        """Take a message, and answer it."""
        with self._lock:
            conversation = self._of(caller)
            conversation.add("guest", text)
            conversation.add("desk", self._answer(text).format_map(asdict(caller)))

    def since(self, caller: Caller, number: int) -> list[dict[str, Any]]:
        """The messages after that number, as JSON has them."""
        with self._lock:
            return [asdict(said) for said in self._of(caller).messages if said.number > number]

    def _of(self, caller: Caller) -> _Conversation:
        conversation = self._conversations.get(caller.subject)
        if conversation is None:
            conversation = self._conversations[caller.subject] = _Conversation()
            conversation.add("desk", f"Good evening, {caller.name}. This is the front desk. How can I help?")
            if len(self._conversations) > _MOST_GUESTS:
                self._conversations.popitem(last=False)
        return conversation

    def _answer(self, text: str) -> str:
        asked = text.lower()
        for words, answer in _ANSWERS:
            if words in asked:
                return answer
        return _OTHERWISE[next(self._answered) % len(_OTHERWISE)]
