// A cable between the browser and the server that a test can cut: a TCP proxy of few lines.
import { once } from "node:events";
import net from "node:net";

/** Listens on a port of its own and passes everything on to `port`, which may change. */
export async function layCable(port) {
  const ends = new Set();
  const cable = { port: 0, to: port, isCut: false };
  const proxy = net.createServer((near) => {
    if (cable.isCut) return near.destroy();
    const far = net.connect(cable.to, "127.0.0.1");
    const gone = () => {
      near.destroy();
      far.destroy();
      ends.delete(gone);
    };
    gone.silence = () => {
      for (const end of [near, far]) end.unpipe().pause();
    };
    ends.add(gone);
    for (const end of [near, far]) end.on("error", gone).on("close", gone);
    near.pipe(far).pipe(near);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  cable.port = proxy.address().port;
  /** Every connection breaks, and no new one comes through. */
  cable.cut = () => {
    cable.isCut = true;
    for (const gone of [...ends]) gone();
  };
  /** Nothing passes the connections there are, and neither side is told; new ones come through. */
  cable.silence = () => {
    for (const { silence } of ends) silence();
  };
  cable.mend = (to = cable.to) => {
    cable.to = to;
    cable.isCut = false;
  };
  cable.remove = () => {
    cable.cut();
    proxy.close();
  };
  return cable;
}
