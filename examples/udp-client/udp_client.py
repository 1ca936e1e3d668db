#!/usr/bin/env python3
"""A client of roomcast on plain UDP, with nothing but the standard library. It says each line that
it reads in a room: `python3 udp_client.py 127.0.0.1 7402 lobby Mina`. docs/protocol.md, section 16.
"""
import json, os, select, socket, struct, sys, time

MAGIC, HELLO, RETRY, ACCEPT, GONE, FROM_CLIENT, FROM_SERVER = b"RC\x01", 1, 2, 3, 5, 0x11, 0x12
PADDING, PING, ACK, UNRELIABLE, PIECE_LAST, PIECE, CHALLENGE, RESPONSE, CLOSE = range(9)
WORD, SALT = (1 << 64) - 1, struct.unpack(">QQQQ", b"somepseudorandomlygeneratedbytes")

def siphash(key, data):  # SipHash-2-4, 8 bytes
    def rounds(count):
        nonlocal v0, v1, v2, v3
        turn = lambda word, by: (word << by | word >> (64 - by)) & WORD
        for _ in range(count):
            v0 = (v0 + v1) & WORD; v1 = turn(v1, 13) ^ v0; v0 = turn(v0, 32)
            v2 = (v2 + v3) & WORD; v3 = turn(v3, 16) ^ v2
            v0 = (v0 + v3) & WORD; v3 = turn(v3, 21) ^ v0
            v2 = (v2 + v1) & WORD; v1 = turn(v1, 17) ^ v2; v2 = turn(v2, 32)
    v0, v1 = v2, v3 = struct.unpack("<QQ", key)
    v0, v1, v2, v3 = (word ^ salt for word, salt in zip((v0, v1, v2, v3), SALT))
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v3 ^= word; rounds(2); v0 ^= word
    v2 ^= 0xFF; rounds(4)
    return struct.pack("<Q", v0 ^ v1 ^ v2 ^ v3)

class Client:
    def __init__(self, host, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((host, port))
        self.id, self.key = self.greet()
        self.seq, self.seen, self.window = 0, -1, set()  # numbers of datagrams
        self.next_out, self.waiting = 0, {}  # pieces sent: number -> (frame, when)
        self.next_in, self.held, self.begun = 0, {}, b""  # pieces that came
        self.heard, self.ended = time.time(), None

    def greet(self):
        nonce, cookie = os.urandom(8), bytes(12)
        for _ in range(20):
            hello = bytes([HELLO]) + MAGIC + nonce + b"\0" + cookie  # 0: JSON
            self.socket.send(hello.ljust(1200, b"\0"))
            ready = select.select([self.socket], [], [], 0.25)[0]
            answer = self.socket.recv(2048) if ready else b""
            if answer[:12] == bytes([RETRY]) + MAGIC + nonce:
                cookie = answer[12:24]
            elif answer[:12] == bytes([ACCEPT]) + MAGIC + nonce:
                return answer[12:20], answer[20:36]
        sys.exit("nobody answers, or the server has no place")

    def send(self, *frames):
        said = bytes([FROM_CLIENT]) + self.id + struct.pack(">Q", self.seq) + b"".join(frames)
        self.seq += 1
        self.socket.send(said + siphash(self.key, said))

    def say(self, reliable=True, **command):
        message = json.dumps(command).encode()
        if not reliable and len(message) <= 1100:
            return self.send(bytes([UNRELIABLE]) + struct.pack(">H", len(message)) + message)
        for at in range(0, len(message), 1100):
            kind = PIECE if at + 1100 < len(message) else PIECE_LAST
            piece = message[at:at + 1100]
            frame = struct.pack(">BIH", kind, self.next_out % 2**32, len(piece)) + piece
            self.waiting[self.next_out], self.next_out = (frame, time.time()), self.next_out + 1
            self.send(frame)

    def receive(self, datagram):
        said, tag = datagram[:-8], datagram[-8:]
        if datagram == bytes([GONE]) + MAGIC + self.id:
            self.ended = "the server does not know the session any more"
        if len(said) < 17 or said[0] != FROM_SERVER or said[1:9] != self.id:
            return []
        seq = int.from_bytes(said[9:17], "big")
        if seq in self.window or seq <= self.seen - 1024 or siphash(self.key, said) != tag:
            return []
        self.seen, self.heard = max(self.seen, seq), time.time()
        self.window = {old for old in self.window | {seq} if old > self.seen - 1024}
        return self.read(said[17:])

    def read(self, rest):
        messages, owes, reply = [], False, []
        while rest:
            kind, rest = rest[0], rest[1:]
            owes |= kind in (PING, PIECE, PIECE_LAST)
            if kind == ACK:
                _, next_piece, size = struct.unpack(">QIB", rest[:13])
                bitmap, rest = int.from_bytes(rest[13:13 + size], "little"), rest[13 + size:]
                came = lambda behind: behind >= 2**31 or bitmap << 1 >> behind & 1
                self.waiting = {number: piece for number, piece in self.waiting.items()
                                if not came((number - next_piece) % 2**32)}
            elif kind == UNRELIABLE:
                size, rest = int.from_bytes(rest[:2], "big"), rest[2:]
                messages.append(rest[:size]); rest = rest[size:]
            elif kind in (PIECE, PIECE_LAST):
                number, size = struct.unpack(">IH", rest[:6])
                piece, rest = rest[6:6 + size], rest[6 + size:]
                behind = (number - self.next_in) % 2**32
                if behind < 256:
                    self.held[self.next_in + behind] = (kind, piece)
                while self.next_in in self.held:
                    kind, piece = self.held.pop(self.next_in)
                    self.begun, self.next_in = self.begun + piece, self.next_in + 1
                    if kind == PIECE_LAST:
                        messages.append(self.begun); self.begun = b""
            elif kind == CHALLENGE:
                reply.append(bytes([RESPONSE]) + rest[:8]); rest = rest[8:]
            elif kind == CLOSE:
                code, size = struct.unpack(">HH", rest[:4])
                self.ended = "closed by the server: %d %s" % (code, rest[4:4 + size].decode())
                reply.append(struct.pack(">BHH", CLOSE, code, 0)); rest = rest[4 + size:]
        if owes:
            bits = sum(1 << (number - self.next_in - 1) for number in self.held)
            bitmap = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
            place = (ACK, self.seen, self.next_in % 2**32, len(bitmap))
            reply.append(struct.pack(">BQIB", *place) + bitmap)
        if reply:
            self.send(*reply)
        return [json.loads(message) for message in messages]

    def wait(self, inputs):  # returns messages, and whether one of `inputs` can be read
        ready = select.select([self.socket, *inputs], [], [], 0.1)[0]
        for number, (frame, when) in list(self.waiting.items()):
            if time.time() - when > 0.3:  # A better client measures the round trip.
                self.waiting[number] = (frame, time.time())
                self.send(frame)
        if time.time() - self.heard > 15:
            self.heard = time.time() - 14
            self.send(bytes([PING]))
        messages = self.receive(self.socket.recv(65536)) if self.socket in ready else []
        return messages, 0 in ready

if __name__ == "__main__":
    host, port, room, name = sys.argv[1:5]
    client = Client(host, int(port))
    client.say(type="hello", ref=1, name=name)
    client.say(type="join", ref=2, room=room)
    inputs, typed = [0], b""
    while not client.ended:
        messages, ready = client.wait(inputs)
        for message in messages:
            print(json.dumps(message), flush=True)
        read = os.read(0, 4096) if ready else b""
        *lines, typed = (typed + read).split(b"\n")
        for line in lines:
            client.say(type="publish", room=room, event="chat", data={"text": line.decode()})
        if ready and not read:
            inputs = client.say(type="bye", ref=3) or []
    print(client.ended or "bye", file=sys.stderr)
