// Bun's built-in WebSocket server (uWebSockets inside) and its own publish and subscribe:
// {"join":"ROOM"} is answered, everything else goes to the members of the room as it came.

import { attendParent } from "./parent.mjs";

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    if (!server.upgrade(request, { data: { room: "" } })) {
      return new Response("this is a WebSocket server", { status: 426 });
    }
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    message(socket, message) {
      if (message.startsWith("{")) {
        socket.data.room = JSON.parse(message).join;
        socket.subscribe(socket.data.room);
        socket.send('{"joined":true}');
      } else {
        server.publish(socket.data.room, message);
      }
    },
  },
});

attendParent();
console.log(`listening on ws://127.0.0.1:${server.port}/`);
