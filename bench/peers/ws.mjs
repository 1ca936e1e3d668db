// Node with the package `ws`: {"join":"ROOM"} is answered, everything else goes to the members of
// the room as it came.

import { WebSocketServer } from "ws";
import { attendParent } from "./parent.mjs";

const rooms = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 1024 });

server.on("connection", (socket) => {
  let members = new Set();
  socket.on("message", (message) => {
    if (message[0] === 0x7b) {
      const name = JSON.parse(message).join;
      members = rooms.get(name) ?? new Set();
      rooms.set(name, members);
      members.add(socket);
      socket.send('{"joined":true}');
    } else {
      for (const member of members) {
        member.send(message, { binary: false });
      }
    }
  });
  socket.on("close", () => members.delete(socket));
  socket.on("error", () => socket.terminate());
});

server.on("listening", () => {
  attendParent();
  console.log(`listening on ws://127.0.0.1:${server.address().port}/`);
});
