"""The demo's front desk: each guest has a conversation of their own, and none grows for ever."""

from guestpass.demo.conversation import Caller, FrontDesk

ADA = Caller("subject-of-ada", "Ada", "ada@example.org")
BOB = Caller("subject-of-bob", "Bob", "bob@example.org")


def texts(desk: FrontDesk, caller: Caller, number: int = 0) -> list[str]:
    return [message["text"] for message in desk.since(caller, number)]


def test_a_guest_is_greeted_once_and_answered_each_time() -> None:
    desk = FrontDesk()
    assert texts(desk, ADA) == ["Good evening, Ada. This is the front desk. How can I help?"]
    desk.hear(ADA, "When is BREAKFAST?")
    new = desk.since(ADA, 1)
    assert [(message["number"], message["by"]) for message in new] == [(2, "guest"), (3, "desk")]
    assert new[1]["text"].startswith("Breakfast is from seven")


def test_the_desk_knows_who_asks() -> None:
    desk = FrontDesk()
    desk.hear(BOB, "Who am I?")
    assert "You are Bob, bob@example.org, guest subject-" in texts(desk, BOB)[-1]


def test_no_guest_reads_what_another_one_wrote() -> None:
    desk = FrontDesk()
    desk.hear(ADA, "my secret")
    assert "my secret" not in texts(desk, BOB)


def test_what_a_guest_writes_is_no_template() -> None:
    desk = FrontDesk()
    desk.hear(Caller("s", "{email}", "e"), "{subject}")
    assert texts(desk, Caller("s", "{email}", "e"))[1:] == ["{subject}", "Certainly, {email}."]


def test_a_conversation_keeps_its_last_hundred_messages() -> None:
    desk = FrontDesk()
    for number in range(60):
        desk.hear(ADA, str(number))
    kept = desk.since(ADA, 0)
    assert (len(kept), kept[-1]["number"]) == (100, 121)


def test_of_many_guests_the_first_is_forgotten() -> None:
    desk = FrontDesk()
    desk.hear(ADA, "remember me")
    for number in range(100):
        desk.since(Caller(str(number), "", ""), 0)
    assert "remember me" not in texts(desk, ADA)
