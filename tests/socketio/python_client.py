"""python-socketio against the example whose handlers do everything: by WebSocket, by polling, and
through the upgrade. Arguments: the server's address. Ends with 0 if all went well."""

import sys
import threading

import socketio

TRAVELS = (["websocket"], ["polling"], ["polling", "websocket"])
PATIENCE_S = 10


def connect(url, transports, **more):
    client = socketio.Client(reconnection=False)
    client.connect(url, transports=transports, wait_timeout=PATIENCE_S, **more)
    return client


def expect(is_so, what):
    if not is_so:
        raise AssertionError(what)


def hear(client, event):
    """What the next event of that name brings."""
    came, heard = threading.Event(), []

    def on_event(*args):
        heard.append(args)
        came.set()

    client.on(event, on_event)

    def wait():
        expect(came.wait(PATIENCE_S), f"the event {event!r} came")
        return heard[0]

    return wait


def events_and_acknowledgements(url, transports):
    client = connect(url, transports)
    client.on("question", lambda *args: (len(args), b"\x07"))
    answer = client.call("ask me", ("one", {"two": [3]}, b"\x04\x05"), timeout=PATIENCE_S)
    expect(tuple(answer) == (3, b"\x07"), f"the answer came back: {answer!r}")
    expect(client.call("enter", f"py {transports}", timeout=PATIENCE_S) is True, "a seat")
    if len(transports) == 2:
        expect(client.transport() == "websocket", "it has moved to WebSocket")
    client.disconnect()


def a_room(url, transports):
    mina, tom = connect(url, transports), connect(url, transports)
    room = f"py room {transports}"
    told = hear(tom, "told")
    for client in (mina, tom):
        client.call("enter", room, timeout=PATIENCE_S)
    mina.call("tell", (room, "hi", b"\x01\x02"), timeout=PATIENCE_S)
    expect(told() == ("hi", b"\x01\x02"), "it was told in the room")
    reply = tom.call("members", {"room": room}, timeout=PATIENCE_S)
    expect(len(reply["members"]) == 2, f"the convention's members: {reply!r}")
    for client in (mina, tom):
        client.disconnect()


def a_guard(url, transports):
    refusal = []
    client = socketio.Client(reconnection=False)
    client.on("connect_error", refusal.append, namespace="/guarded")
    try:
        client.connect(
            url,
            transports=transports,
            namespaces=["/guarded"],
            auth={"token": "guess"},
            wait_timeout=PATIENCE_S,
        )
        raise AssertionError("it was let in")
    except socketio.exceptions.ConnectionError:
        expect(refusal and refusal[0]["message"] == "that is not the word", f"{refusal!r}")
    client.disconnect()
    client = socketio.Client(reconnection=False)
    welcome, heard = threading.Event(), []

    def on_welcome(auth):
        heard.append(auth)
        welcome.set()

    client.on("welcome", on_welcome, namespace="/guarded")
    auth = {"token": "sesame"}
    client.connect(url, transports=transports, namespaces=["/guarded"], auth=auth)
    expect(welcome.wait(PATIENCE_S) and heard == [auth], "it was welcomed")
    client.disconnect()


def main():
    for transports in TRAVELS:
        for check in (events_and_acknowledgements, a_room, a_guard):
            check(sys.argv[1], transports)
            print("ok", check.__name__, transports, flush=True)


main()
