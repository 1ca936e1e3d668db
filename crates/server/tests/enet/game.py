"""A game on pyenet: says hello, joins, publishes in each way, hears others, leaves.

    game.py PORT

Prints each message that comes as a line of its channel and its text, and how the connection ends.
"""

import json
import sys

import enet

WAYS = {"reliable": enet.PACKET_FLAG_RELIABLE, "unsequenced": enet.PACKET_FLAG_UNSEQUENCED, "sequenced": 0}


def main(port):
    host = enet.Host(None, 1, 2)
    peer = host.connect(enet.Address(b"127.0.0.1", port), 2)

    def say(channel, flag, **message):
        peer.send(channel, enet.Packet(json.dumps(message).encode(), flag))

    while True:
        event = host.service(1000)
        if event.type == enet.EVENT_TYPE_CONNECT:
            say(0, enet.PACKET_FLAG_RELIABLE, type="hello", ref=1, name="Pia")
            say(0, enet.PACKET_FLAG_RELIABLE, type="join", ref=2, room="arena")
        elif event.type == enet.EVENT_TYPE_RECEIVE:
            text = event.packet.data.decode()
            print(event.channelID, text, flush=True)
            message = json.loads(text)
            if message["type"] == "joined":
                for channel in (0, 1):
                    for way, flag in WAYS.items():
                        say(channel, flag, type="publish", room="arena", event=way, data=channel, echo=False)
                long = "long " * 4000
                say(0, enet.PACKET_FLAG_RELIABLE, type="publish", room="arena", event="long", data=long, echo=False)
            elif message["type"] == "event" and message["event"] == "leave":
                peer.disconnect(7)
        elif event.type == enet.EVENT_TYPE_DISCONNECT:
            print("disconnected", flush=True)
            return


main(int(sys.argv[1]))
